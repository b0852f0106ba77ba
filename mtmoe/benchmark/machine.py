"""Rates of the machine itself: the yardsticks of every benchmark."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")

# A GPU is not filled by what fills a CPU, and its cache (50 MB) would hold it.
_MATRIX_SIZE, _GPU_MATRIX_SIZE = 2048, 8192
_COPIED_BYTES, _GPU_COPIED_BYTES = 1 << 28, 1 << 32


def measure_gemm(dtype: torch.dtype, device: torch.device, seconds: float = 1.0) -> float:
    """Return GFLOP/s for square products of size 2048 (GPU: 8192) of random numbers, the best of many."""
    size = _GPU_MATRIX_SIZE if device.type == "cuda" else _MATRIX_SIZE
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / _best_seconds(lambda: torch.mm(a, b), device, seconds) / 1e9


def measure_copy(device: torch.device, seconds: float = 1.0) -> float:
    """Return GB/s for copies of 256 MiB (GPU: 4 GiB, or a quarter of what is free) between buffers, the best of many.

    The buffers exist before. A byte that is read and written counts twice.
    """
    size = _COPIED_BYTES
    if device.type == "cuda":
        size = min(_GPU_COPIED_BYTES, torch.cuda.mem_get_info(device)[0] // 4)
    source, target = (torch.ones(size, dtype=torch.uint8, device=device) for _ in range(2))
    return 2 * size / _best_seconds(lambda: target.copy_(source), device, seconds) / 1e9


def _best_seconds(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Return the shortest time of ``work`` among as many runs as fit in ``seconds``."""
    work()
    best, until = float("inf"), time.monotonic() + seconds
    while time.monotonic() < until:
        best = min(best, timed(work, device)[1])
    return best


def timed(work: Callable[[], T], device: torch.device) -> tuple[T, float]:
    """Return the result of ``work``, and the seconds it took.

    On a GPU the time goes from when it was idle to the end of the last kernel. It includes the gaps in which the GPU
    waits for the processor, so slow launches count.
    """
    wait_for(device)
    if device.type == "cuda":
        stream = torch.cuda.current_stream(device)
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record(stream)
        result = work()
        ended.record(stream)
        wait_for(device)
        return result, began.elapsed_time(ended) / 1e3
    clock = time.perf_counter()
    result = work()
    return result, time.perf_counter() - clock


def wait_for(device: torch.device) -> None:
    """Wait until the device has done all its work, so that a clock can be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def hardware_name(device: torch.device) -> str:
    """Return the name of the processor or GPU, for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), model)
    except OSError:
        pass
    return f"{os.cpu_count()} cores of {model}"


def peak_bytes(device: torch.device) -> int:
    """Return the most memory that this process has had so far, loading included; on a GPU, of all tensors."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # not on Windows; nothing else here needs it
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
