"""Weights as a package stores them: in float32, bfloat16, or in 8 bits with a scale for each row.

A row is what has the same indices but for the last. In 8 bits its largest value is 127 or -127, and the others are
rounded to the nearest of its 255 steps. Gates stay as they are (which experts a token is sent to is the one thing that
rounding changes by leaps), and so do vectors; both are small.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from mtmoe.checkpoint.packages.package_manifest import Precision
from mtmoe.model.building import Network
from mtmoe.model.moe.gating import Gate

_SCALE = ".row_scale"
_MOST = 127


def gate_names(model: Network) -> frozenset[str]:
    """Return the names of the parameters of all gates."""
    gates = [(name, module) for name, module in model.named_modules() if isinstance(module, Gate)]
    return frozenset(f"{name}.{own}" for name, gate in gates for own, _ in gate.named_parameters())


def stored_weights(weights: Mapping[str, Tensor], precision: Precision, gates: Collection[str]) -> dict[str, Tensor]:
    """Return weights (float32, by name) as they are stored.

    Args:
        gates: names of those that stay as they are.
    """
    if precision == "fp32":
        return dict(weights)
    stored: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if name in gates or weight.ndim < 2:
            stored[name] = weight
        elif precision == "bf16":
            stored[name] = weight.to(torch.bfloat16)
        else:
            stored[name], stored[name + _SCALE] = _in_8_bits(weight)
    return stored


def _in_8_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    scale = weight.abs().amax(dim=-1) / _MOST
    steps = weight / torch.where(scale > 0, scale, 1.0)[..., None]
    return steps.round_().clamp_(-_MOST, _MOST).to(torch.int8), scale


def restored_weights(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what :func:`stored_weights` was given, in float32, as nearly as it was stored.

    Raises:
        ValueError: a tensor is not of those types, or a scale does not go with it.
    """
    weights = {}
    for name, tensor in stored.items():
        if name.removesuffix(_SCALE) in stored and name.endswith(_SCALE):
            continue
        if tensor.dtype == torch.int8:
            scale = stored.get(name + _SCALE)
            if scale is None or scale.dtype != torch.float32 or scale.shape != tensor.shape[:-1]:
                raise ValueError(f"{name} is in 8 bits, and has no scale for each of its rows")
            weights[name] = tensor.float().mul_(scale[..., None])
        elif tensor.dtype in (torch.float32, torch.bfloat16):
            weights[name] = tensor.float()
        else:
            raise ValueError(f"{name} is of type {str(tensor.dtype).removeprefix('torch.')}")
    return weights
