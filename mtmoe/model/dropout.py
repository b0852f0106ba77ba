"""Dropout that spends little on random numbers.

On a CPU one 64-bit draw decides for four elements (16 bits each), which is several times cheaper than one
draw an element; the probability is exact to 2**-16 and the kept values are scaled by the probability that
was really used.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LEVELS = 1 << 16


class Dropout(nn.Module):
    """Zaremba et al. 2014: on the output of a layer, never on its recurrent connection."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.probability == 0.0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.probability)
        return x * keep_mask(x.shape, self.probability, x.dtype)

    def extra_repr(self) -> str:
        return f"probability={self.probability}"


def keep_mask(shape: torch.Size, probability: float, dtype: torch.dtype) -> Tensor:
    """0 with ``probability``, else 1 / (1 - probability), independently: shape ``shape``, on the CPU."""
    num_elements = shape.numel()
    threshold = round(probability * _LEVELS)
    words = torch.empty(-(-num_elements // 4), dtype=torch.int64).random_(-(2**63), None)
    draws = words.view(torch.int16)[:num_elements]
    scale = _LEVELS / (_LEVELS - threshold)
    return (draws >= threshold - _LEVELS // 2).to(dtype).mul_(scale).view(shape)
