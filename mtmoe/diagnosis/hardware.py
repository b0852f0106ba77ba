"""Checks of processor, threads and GPUs, as torch sees them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

from mtmoe.diagnosis.check import Check
from mtmoe.system.cpu_cores import fair_threads, num_cores
from mtmoe.system.torchrun import local_world_size

_SMALL_GPU = 4 << 30


def processor() -> Iterator[Check]:
    """Yield what the processor can do, and which precision it trains in."""
    import torch

    from mtmoe.precision import choose_precision
    from mtmoe.system.torch_internals import has_amx, has_avx2, has_avx512, has_avx512_bf16

    capability = torch.backends.cpu.get_cpu_capability()
    has = {
        "AVX2": has_avx2(),
        "AVX-512": has_avx512(),
        "AVX-512 BF16": has_avx512_bf16(),
        "AMX": has_amx(),
    }
    named = ", ".join(name for name, there in has.items() if there) or capability
    precision = choose_precision(torch.device("cpu"), "auto")
    yield Check("processor", "ok", f"{named}; training.precision = auto is {precision}")


def compiled_search() -> Iterator[Check]:
    """Yield whether translating is compiled, and for which family of processors."""
    from mtmoe.inference.compiled import library

    family = library.best_family()
    if family is None:
        advice = "translating takes several times as long: install a C++ compiler (g++), then mtmoe once more"
        yield Check("compiled search", "warning", "not there", advice)
    else:
        yield Check("compiled search", "ok", f"kernels for {family} processors")


def threads() -> Iterator[Check]:
    """Yield whether threads and processes fit the cores."""
    import torch

    cores = num_cores()
    busy = os.getloadavg()[0]  # of the last minute
    each, processes = torch.get_num_threads(), local_world_size()
    given = os.environ.get("OMP_NUM_THREADS", "not set")
    found = f"{each} for each of {processes} processes, {cores} cores; OMP_NUM_THREADS {given}"
    if (fair := fair_threads(each, processes)) is not None:
        yield Check("threads", "warning", found, f"threads wait for each other: export OMP_NUM_THREADS={fair}")
    elif each == 1 and processes == 1 and cores > 1:
        yield Check("threads", "warning", found, f"one core is used: export OMP_NUM_THREADS={cores}, or unset it")
    elif each * processes + busy > cores + 0.5:
        yield Check(
            "threads", "warning", f"{found}; {busy:.1f} of the cores were busy in the last minute",
            "if other programs go on, they and these threads wait for each other: export OMP_NUM_THREADS="
            f"{max(1, int(cores - busy) // processes)} makes up for it",
        )  # fmt: skip
    else:
        yield Check("threads", "ok", found)


def gpus() -> Iterator[Check]:
    """Yield what torch can do with this machine's GPUs. None is an error only if the driver lists some."""
    import torch

    if not torch.cuda.is_available():
        yield _no_gpu(torch.version.cuda)
        return
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if torch.distributed.is_nccl_available() else None
    yield Check("CUDA", "ok", f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
    if nccl is None:
        yield Check("NCCL", "error", "not in this torch", "several GPUs need it: install torch from PyPI for Linux")
    else:
        yield Check("NCCL", "ok", nccl)
    num_gpus = torch.cuda.device_count()
    for number in range(num_gpus):
        yield _gpu(torch.cuda.get_device_properties(number), number, torch.cuda.get_arch_list())
    processes = local_world_size()
    if processes > num_gpus:
        yield Check(
            "processes", "error", f"{processes} on this machine for {num_gpus} GPUs",
            f"torchrun --nproc-per-node {num_gpus}",
        )  # fmt: skip


def _gpu(properties: Any, number: int, compiled_for: list[str]) -> Check:
    """Return whether torch supports a GPU, and whether it has enough memory."""
    major, minor, memory = properties.major, properties.minor, properties.total_memory
    bf16 = "bf16" if (major, minor) >= (8, 0) else "no bf16: training.precision = auto is fp32"
    found = f"{properties.name}, {memory / (1 << 30):.1f} GiB, compute capability {major}.{minor}, {bf16}"
    name = f"GPU {number}"
    least = min(
        (int(arch.removeprefix("sm_").rstrip("af")) for arch in compiled_for if arch.startswith("sm_")), default=0
    )
    if 10 * major + minor < least:
        needed = f"{least // 10}.{least % 10}"
        return Check(
            name, "error", found, f"this torch needs compute capability {needed}: take an older torch or --device cpu"
        )
    if memory < _SMALL_GPU:
        return Check(
            name, "warning", found, "little memory: plan first (mtmoe plan), with a smaller training.batch_tokens"
        )
    return Check(name, "ok", found)


def _no_gpu(cuda: str | None) -> Check:
    """Return why torch has no GPU: there is none, or torch cannot use those that the driver lists."""
    program = shutil.which("nvidia-smi")
    listed = ""
    if program is not None:
        run = subprocess.run([program, "--list-gpus"], capture_output=True, text=True, timeout=20, check=False)
        listed = run.stdout.strip() if run.returncode == 0 else ""
    if not listed:
        return Check("GPUs", "ok", "none: training is on the processor")
    count = len(listed.splitlines())
    if cuda is None:
        advice = "this torch is for processors alone: pip install torch (PyPI's for Linux has CUDA)"
    else:
        advice = f"this torch has CUDA {cuda}: the driver may be too old for it, or CUDA_VISIBLE_DEVICES is empty"
    return Check("GPUs", "error", f"the driver has {count}, torch can use none", advice)
