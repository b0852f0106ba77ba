"""Mixed precision: the choice of bf16, fp16 or fp32 for a device, and autocast."""

from __future__ import annotations

import platform

import torch

from mtmoe.errors import UserError
from mtmoe.system.torch_internals import has_amx, has_avx512_bf16, onednn_has_bf16

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which the forward pass computes in ``precision``; weights stay as they are."""
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")


def choose_precision(device: torch.device, precision: str) -> str:
    """Return the precision to train in: for "auto" bf16 or fp32, whichever suits the device, else the one given.

    Raises:
        UserError: bf16 on a processor that cannot train in it.
    """
    if precision == "auto":
        return "bf16" if _has_fast_bf16(device) else "fp32"
    check_precision(device, precision, "training.precision", 'set training.precision = "auto", which takes fp32 here')
    return precision


def check_precision(device: torch.device, precision: str, setting: str, fix: str) -> None:
    """Check that the device can compute in a precision.

    Args:
        precision: fp32, bf16, fp16, int8 or bf16-int8.
        setting: the name of the setting that ``precision`` is the value of.
        fix: what a user can do about an error.

    Raises:
        UserError: bf16 on a processor without instructions for it, where training fails and translating crawls; int8
            on anything but a CPU.
    """
    in_bf16 = precision in ("bf16", "bf16-int8")
    if in_bf16 and device.type == "cpu" and not onednn_has_bf16():
        raise UserError(f'{setting} = "{precision}": this processor has no bf16 arithmetic (AVX-512 or AMX)', fix=fix)
    if precision in ("int8", "bf16-int8") and device.type != "cpu":
        raise UserError(f'{setting} = "{precision}" is for CPUs, but the device is {device}', fix=fix)


def _has_fast_bf16(device: torch.device) -> bool:
    """Return whether the device multiplies bf16 with instructions of its own.

    Without them it is not slower by a little: a processor with AVX2 alone gave 0.4 GFLOP/s in bf16, 118 in fp32.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if platform.machine().lower() in ("x86_64", "amd64"):
        return has_avx512_bf16() or has_amx()
    return onednn_has_bf16()
