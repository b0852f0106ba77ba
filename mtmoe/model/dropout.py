"""Dropout that spends little on random numbers.

On a CPU one 64-bit draw decides for four elements (16 bits each), which is several times cheaper than one
draw an element; the probability is exact to 2**-16 and the kept values are scaled by the probability that
was really used.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtmoe.model.ops.keyed_noise import TokenNoise

_LEVELS = 1 << 16


class Dropout(nn.Module):
    """Zaremba et al. 2014: on the output of a layer, never on its recurrent connection.

    noise: where the random numbers come from; None for torch's own generator.
    """

    def __init__(self, probability: float, noise: TokenNoise | None = None) -> None:
        super().__init__()
        self.probability = probability
        self.noise = noise

    def forward(self, x: Tensor) -> Tensor:
        mask = self.mask(x)
        return x if mask is None else x * mask

    def mask(self, like: Tensor) -> Tensor | None:
        """Return what :meth:`forward` would multiply ``like`` by, drawn anew, of its shape and type; None for nothing
        to drop. With it positions that are computed one by one are dropped as if they came at once."""
        if not self.training or self.probability == 0.0:
            return None
        if self.noise is not None:
            words = self.noise.words(like.shape, -(-like.shape[-1] // 4))
            return mask_of_words(words, self.probability, like.dtype)[..., : like.shape[-1]]
        if like.device.type != "cpu":
            return F.dropout(torch.ones_like(like), self.probability)
        return keep_mask(like.shape, self.probability, like.dtype)

    def extra_repr(self) -> str:
        return f"probability={self.probability}"


def keep_mask(shape: torch.Size, probability: float, dtype: torch.dtype) -> Tensor:
    """Draw 0 with ``probability``, else 1 / (1 - probability), independently: shape ``shape``, on the CPU."""
    num_elements = shape.numel()
    words = torch.empty(-(-num_elements // 4), dtype=torch.int64).random_(-(2**63), None)
    return mask_of_words(words, probability, dtype)[:num_elements].view(shape)


def mask_of_words(words: Tensor, probability: float, dtype: torch.dtype) -> Tensor:
    """Compute such a mask from random words: four elements of each int64 in the last dimension."""
    threshold = round(probability * _LEVELS)
    scale = _LEVELS / (_LEVELS - threshold)
    return (words.view(torch.int16) >= threshold - _LEVELS // 2).to(dtype).mul_(scale)
