"""What the machine itself can do: the yardsticks of every measurement."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable

import torch

_MATRIX_SIZE = 2048
_COPIED_BYTES = 1 << 28


def measure_gemm(dtype: torch.dtype, device: torch.device, seconds: float = 1.0) -> float:
    """GFLOP/s of this machine for square products of size 2048, the best of many."""
    a, b = (torch.randn(_MATRIX_SIZE, _MATRIX_SIZE, device=device).to(dtype) for _ in range(2))
    return 2 * _MATRIX_SIZE**3 / _best_seconds(lambda: torch.mm(a, b), device, seconds) / 1e9


def measure_copy(device: torch.device, seconds: float = 1.0) -> float:
    """GB/s of this machine for copies of 256 MiB between buffers that exist, the best of many; a byte that is read
    and written counts twice."""
    source, target = (torch.ones(_COPIED_BYTES, dtype=torch.uint8, device=device) for _ in range(2))
    return 2 * _COPIED_BYTES / _best_seconds(lambda: target.copy_(source), device, seconds) / 1e9


def _best_seconds(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    work()
    wait_for(device)
    best, until = float("inf"), time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        work()
        wait_for(device)
        best = min(best, time.perf_counter() - began)
    return best


def wait_for(device: torch.device) -> None:
    """Until the device has done what it was given, so that a clock can be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def hardware_name(device: torch.device) -> str:
    """What it runs on, in words."""
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
    """Most memory that this process has had so far, loading included; of a GPU, that of all tensors."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # not on Windows; nothing else here needs it
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
