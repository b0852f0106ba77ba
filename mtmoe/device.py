"""Devices: the CPU or a GPU to compute on."""

from __future__ import annotations

import torch

from mtmoe.errors import UserError


def select_cuda_device(device: torch.device) -> None:
    """Make a CUDA device with a number the current one: kernels without a tensor of their own (Triton's) go there."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


def choose_device(name: str | None = None) -> torch.device:
    """Return the named device (cpu, cuda, cuda:1); without a name, cuda where there is one, else cpu.

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
