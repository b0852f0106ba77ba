"""Likeliest next words of many hypotheses, found without passing over the whole vocabulary more often than need be.

Rows are taken some at a time, so that their logits stay in a cache and memory is bounded whatever the vocabulary. The
likeliest words are looked for among blocks of the vocabulary first: the ``k`` largest values lie in the ``k`` blocks
with the largest maxima, so that only those few blocks are searched.

Letters: X rows, W words wanted (as many as the beam is wide), P proposed words, U blocks, I words of a block, L words
of the W best blocks.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from mtmoe.errors import UserError
from mtmoe.inference.search.search_model import SearchModel
from mtmoe.vocabulary import EOS, NUM_SPECIAL

_BLOCK = 64
# Of the logits that are there at once. Fewer rows make the products slower, more are out of the cache.
_LOGITS_BYTES = 1 << 24
_LOGITS_BYTES_ON_GPU = 1 << 29
_FEWEST_ROWS = 32
SYMBOLS = slice(0, NUM_SPECIAL)
"""The special symbols, as an index into the vocabulary."""


class NextWords(NamedTuple):
    """Log-probabilities are the model's, over its whole vocabulary; -inf where there is no further word.

    words_XW, log_probabilities_XW: the likeliest words, best first; no special symbol among them.
    eos_X: log-probability of the end. proposed_XP: of the proposed words.
    """

    words_XW: Tensor
    log_probabilities_XW: Tensor
    eos_X: Tensor
    proposed_XP: Tensor


class Ban(NamedTuple):
    """Cells of an [X, V] array that must not be found: words[i] in row rows[i]."""

    rows: Tensor
    words: Tensor


@runtime_checkable
class FindsNextWords(Protocol):
    """A model that finds the likeliest words by itself, faster than from the logits of all of them."""

    def next_words(
        self,
        hidden_XD: Tensor,
        num_words: int,
        proposed_XP: Tensor | None = None,
        ban: Ban | None = None,
        not_words: slice | list[int] = SYMBOLS,
    ) -> NextWords:
        """Return what :func:`next_words` does."""


class Scratch:
    """Memory for logits that is used again at every step: fresh pages, which the kernel clears first, cost as much as a
    pass over the vocabulary."""

    def __init__(self) -> None:
        self._memory = torch.empty(0)

    def empty(self, num_elements: int, device: torch.device) -> Tensor:
        """Return float32 memory, uninitialised; it is the same as the last one's."""
        if len(self._memory) < num_elements or self._memory.device != device:
            self._memory = torch.empty(0)  # let go of it first
            self._memory = torch.empty(num_elements, device=device)
        return self._memory[:num_elements]


def next_words(
    model: SearchModel[Any, Any],
    hidden_XD: Tensor,
    num_words: int,
    proposed_XP: Tensor | None = None,
    ban: Ban | None = None,
    scratch: Scratch | None = None,
    not_words: slice | list[int] = SYMBOLS,
) -> NextWords:
    """Find the ``num_words`` likeliest words after each row.

    Args:
        proposed_XP: words of which the log-probability is wanted in any case.
        ban: words that are not to be found, though their probability is not given to others.
        scratch: kept by the caller from step to step.
        not_words: an index into the vocabulary of symbols that are not to be found in any row.

    Raises:
        UserError: the model's output is not a number.
    """
    num_rows, size, device = len(hidden_XD), model.vocabulary_size, hidden_XD.device
    num_at_once = rows_at_once(size, device)
    memory = (scratch or Scratch()).empty(min(num_rows, num_at_once) * size, device)
    parts = []
    for begin in range(0, num_rows, num_at_once):
        end = min(begin + num_at_once, num_rows)
        values_XV = memory[: (end - begin) * size].view(end - begin, size)
        model.project(hidden_XD[begin:end], out=values_XV)
        torch.log_softmax(values_XV, 1, out=values_XV)
        eos_X = values_XV[:, EOS].clone()
        proposed = values_XV[:, :0] if proposed_XP is None else values_XV.gather(1, proposed_XP[begin:end])
        values_XV[:, not_words] = -torch.inf
        if ban is not None:
            here = (ban.rows >= begin) & (ban.rows < end)
            values_XV[ban.rows[here] - begin, ban.words[here]] = -torch.inf
        parts.append(NextWords(*_likeliest(values_XV, num_words), eos_X, proposed))
    return parts[0] if len(parts) == 1 else NextWords(*(torch.cat(part) for part in zip(*parts, strict=True)))


def check_numbers(log_probabilities: np.ndarray) -> None:
    """Raise UserError where there is a NaN."""
    if np.isnan(log_probabilities).any():
        raise UserError(
            "the model's output is not a number (NaN), so nothing can be translated with it",
            fix="training went wrong before this checkpoint was saved: choose an earlier one",
        )


def rows_at_once(size: int, device: torch.device) -> int:
    """Return how many rows of logits are computed together: a power of two, so that there are few sizes."""
    most = (_LOGITS_BYTES if device.type == "cpu" else _LOGITS_BYTES_ON_GPU) // (4 * size)
    return max(_FEWEST_ROWS, 1 << (max(1, most).bit_length() - 1))


def _likeliest(values_XV: Tensor, num_words: int) -> tuple[Tensor, Tensor]:
    """Return the words of the largest values of each row, and those values, largest first."""
    size = values_XV.shape[1]
    maxima_XU = _block_maxima(values_XV)
    blocks_XW = maxima_XU.topk(min(num_words, maxima_XU.shape[1]), dim=1, sorted=False).indices
    words_XWI = blocks_XW[:, :, None] * _BLOCK + torch.arange(_BLOCK, device=values_XV.device)
    words_XL = words_XWI.flatten(1)
    found_XL = values_XV.gather(1, words_XL.clamp(max=size - 1))
    found_XL.masked_fill_(words_XL >= size, -torch.inf)  # the last block may be short
    best = found_XL.topk(num_words, dim=1)
    return words_XL.gather(1, best.indices), best.values


def _block_maxima(values_XV: Tensor) -> Tensor:
    """Return the largest value of each block [X, U]."""
    whole = values_XV.shape[1] // _BLOCK * _BLOCK
    parts = [values_XV[:, :whole].unflatten(1, (-1, _BLOCK)).amax(2)] if whole else []
    if whole < values_XV.shape[1]:
        parts.append(values_XV[:, whole:].amax(1, keepdim=True))
    return torch.cat(parts, dim=1)
