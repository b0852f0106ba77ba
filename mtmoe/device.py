"""Which device to compute on, and in which arithmetic."""

from __future__ import annotations

import platform

import torch

from mtmoe.errors import UserError


def choose_device(name: str | None = None) -> torch.device:
    """The named device (cpu, cuda, cuda:1); without a name, cuda where there is one, else cpu.

    Raises:
        UserError: there is no such device.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device {name!r}: no such device", fix="give cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device {name!r}: not supported", fix="give cpu, cuda or cuda:N")
    num_devices = torch.cuda.device_count() if device.type == "cuda" else 1
    if device.type == "cuda" and (device.index or 0) >= num_devices:
        raise UserError(f"device {name!r}: this machine has {num_devices} CUDA devices", fix="give cpu or another one")
    return device


def precision_on(device: torch.device, precision: str) -> str:
    """What ``training.precision`` means there: "auto" becomes bf16 or fp32, the others stay.

    Raises:
        UserError: bf16 on a processor that cannot train in it.
    """
    if precision == "auto":
        return "bf16" if _has_fast_bf16(device) else "fp32"
    check_precision(device, precision, "training.precision", 'set training.precision = "auto", which takes fp32 here')
    return precision


def check_precision(device: torch.device, precision: str, setting: str, fix: str) -> None:
    """Complain of bf16 on a processor that has no instructions for it: training fails there, translating crawls. And
    of int8 on anything but a CPU.

    Args:
        setting: which one ``precision`` is the value of. fix: what to do about it.

    Raises:
        UserError: so it is.
    """
    in_bf16 = precision in ("bf16", "bf16-int8")
    if in_bf16 and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise UserError(f'{setting} = "{precision}": this processor has no bf16 arithmetic (AVX-512 or AMX)', fix=fix)
    if precision in ("int8", "bf16-int8") and device.type != "cpu":
        raise UserError(f'{setting} = "{precision}" is for CPUs, but the device is {device}', fix=fix)


def _has_fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 with instructions of its own.

    Without them it is not slower by a little: a processor with AVX2 alone gave 0.4 GFLOP/s in bf16, 118 in fp32.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if platform.machine().lower() in ("x86_64", "amd64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
