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

    noise: where the random numbers come from; None for torch's own generator. locked: all positions of a sentence drop
    the same elements (Gal and Ghahramani 2016).
    """

    def __init__(self, probability: float, noise: TokenNoise | None = None, *, locked: bool = False) -> None:
        super().__init__()
        self.probability, self.locked = probability, locked
        self.noise = noise

    def forward(self, x: Tensor) -> Tensor:
        mask = self.mask(x)
        return x if mask is None else x * mask

    def mask(self, like: Tensor) -> Tensor | None:
        """Return what :meth:`forward` would multiply ``like`` by, drawn anew, of its shape and type; None for nothing
        to drop. With it positions that are computed one by one are dropped as if they came at once.

        Raises:
            ValueError: it is locked, and nobody knows which tokens are of one sentence.
        """
        if not self.training or self.probability == 0.0:
            return None
        if self.locked:
            return self._locked_mask(like)
        if self.noise is not None:
            words = self.noise.words(like.shape, -(-like.shape[-1] // 4))
            return mask_of_words(words, self.probability, like.dtype)[..., : like.shape[-1]]
        return _any_mask(like, self.probability)

    def _locked_mask(self, like: Tensor) -> Tensor:
        if self.noise is not None:
            words = self.noise.sentence_words(-(-like.shape[-1] // 4))
            mask_BD = mask_of_words(words, self.probability, like.dtype)[:, : like.shape[-1]]
        elif like.dim() == 3:
            mask_BD = _any_mask(like[:, 0], self.probability)
        else:
            raise ValueError("locked dropout of tokens without their sentences needs keyed noise")
        if like.dim() == 3:
            return mask_BD[:, None].expand_as(like)
        assert self.noise is not None
        return mask_BD.index_select(0, self.noise.sentences_of_tokens())

    def extra_repr(self) -> str:
        return f"probability={self.probability}, locked={self.locked}"


class WordDropout(nn.Module):
    """Embedding dropout (Gal and Ghahramani 2016): a word that is dropped is zeros everywhere in a batch."""

    def __init__(self, probability: float, noise: TokenNoise | None = None) -> None:
        super().__init__()
        self.probability, self.noise = probability, noise

    def forward(self, embedded: Tensor, ids: Tensor) -> Tensor:
        """Return the embeddings [..., D] of ids [...] with some words dropped."""
        if not self.training or self.probability == 0.0:
            return embedded
        if self.noise is not None:
            words = self.noise.shared_words(ids, 1)
            return embedded * mask_of_words(words, self.probability, embedded.dtype)[..., :1]
        different, places = ids.unique(return_inverse=True)
        mask = _any_mask(embedded.new_ones(len(different), 1), self.probability)
        return embedded * mask[places]

    def extra_repr(self) -> str:
        return f"probability={self.probability}"


class WeightDropout(nn.Module):
    """DropConnect (Wan et al. 2013; Merity et al. 2017): weights of a matrix are dropped, the same for all sentences
    and positions of a batch."""

    def __init__(self, probability: float, noise: TokenNoise | None = None) -> None:
        super().__init__()
        self.probability, self.noise = probability, noise

    def dropped(self, weight: Tensor) -> Tensor | None:
        """Return a matrix with some of its weights dropped, drawn anew; None for nothing to drop."""
        if not self.training or self.probability == 0.0:
            return None
        if self.noise is None:
            return weight * _any_mask(weight, self.probability)
        rows = torch.arange(weight.shape[0], device=weight.device)
        words = self.noise.shared_words(rows, -(-weight.shape[1] // 4))
        return weight * mask_of_words(words, self.probability, weight.dtype)[:, : weight.shape[1]]

    def extra_repr(self) -> str:
        return f"probability={self.probability}"


def _any_mask(like: Tensor, probability: float) -> Tensor:
    """Draw a mask of that shape by torch's own generator."""
    if like.device.type != "cpu":
        return F.dropout(torch.ones_like(like), probability)
    return keep_mask(like.shape, probability, like.dtype)


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
