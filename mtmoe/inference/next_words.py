"""The likeliest next words of many hypotheses, without passing over the whole vocabulary more often than need be.

Log-probabilities are never all there: a part of the vocabulary is normalised in place by itself, and what the parts
are to each other is added to the few values that are looked at. The likeliest words are looked for among blocks of
the vocabulary first: the ``k`` largest values lie in the ``k`` blocks with the largest maxima, so that only those few
blocks are searched.

Letters: X rows, V vocabulary, W words wanted, E words asked for, K blocks, C words of a part, P parts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mtmoe.errors import UserError
from mtmoe.inference.search_model import SearchModel
from mtmoe.vocabulary import EOS, NUM_SPECIAL

_BLOCK = 64
# Of the logits of a part, which bound memory. Smaller parts, which a core's cache would hold, were slower (5,000 words,
# 150 rows, parts of 1 MB: a tenth in all in fp32, a fifth in bf16).
_PART_BYTES = 1 << 24
_PART_BYTES_ON_GPU = 1 << 29


class NextWords(NamedTuple):
    """Log-probabilities are the model's, over its whole vocabulary; -inf where there is no further word.

    words_XW, log_probabilities_XW: the likeliest words, best first; no special symbol among them.
    eos_X: log-probability of the end. asked_XE: of the words that were asked for.
    """

    words_XW: Tensor
    log_probabilities_XW: Tensor
    eos_X: Tensor
    asked_XE: Tensor


class Ban(NamedTuple):
    """Cells of an [X, V] array that must not be found: words[i] in row rows[i]."""

    rows: Tensor
    words: Tensor


class Scratch:
    """Memory for logits that is used again at every step: fresh pages, which the kernel clears first, cost as much as a
    pass over the vocabulary."""

    def __init__(self) -> None:
        self._memory = torch.empty(0)

    def empty(self, num_elements: int, device: torch.device) -> Tensor:
        """Float32, uninitialised; the same memory as the last one's."""
        if len(self._memory) < num_elements or self._memory.device != device:
            self._memory = torch.empty(0)  # let go of it first
            self._memory = torch.empty(num_elements, device=device)
        return self._memory[:num_elements]


def next_words(
    model: SearchModel,
    hidden_XD: Tensor,
    num_words: int,
    asked_XE: Tensor | None = None,
    ban: Ban | None = None,
    scratch: Scratch | None = None,
) -> NextWords:
    """The ``num_words`` likeliest words after each row.

    Args:
        scratch: kept by the caller from step to step.
        asked_XE: words of which the log-probability is wanted in any case.
        ban: words that are not to be found, though their probability is not given to others.

    Raises:
        UserError: the model's output is not a number.
    """
    num_rows, size = len(hidden_XD), model.vocabulary_size
    part_size = _part_size(num_rows, size, hidden_XD.device)
    memory = (scratch or Scratch()).empty(num_rows * size, hidden_XD.device)
    normalisers, maxima, asked_XE_parts = [], [], []
    eos_X = memory.new_empty(0)
    for start in range(0, size, part_size):
        end = min(start + part_size, size)
        values_XC = memory[num_rows * start : num_rows * end].view(num_rows, end - start)
        model.project(hidden_XD, slice(start, end), out=values_XC)
        highest_X = values_XC.amax(1) if part_size < size else None
        torch.log_softmax(values_XC, 1, out=values_XC)
        # Of the only part this is nothing, and two passes are saved.
        normalisers.append(values_XC.new_zeros(num_rows) if highest_X is None else highest_X - values_XC.amax(1))
        if asked_XE is not None:
            asked_XE_parts.append(_asked(values_XC, asked_XE, start))
        if start == 0:
            eos_X = values_XC[:, EOS].clone()
            values_XC[:, :NUM_SPECIAL] = -torch.inf
        if ban is not None:
            here = (ban.words >= start) & (ban.words < end)
            values_XC[ban.rows[here], ban.words[here] - start] = -torch.inf
        maxima.append(_block_maxima(values_XC))
    normaliser_XP = torch.stack(normalisers, dim=1)
    part_XP = normaliser_XP - normaliser_XP.logsumexp(1, keepdim=True)  # log-probability of each part as a whole
    maxima_XK = torch.cat(maxima, dim=1)
    block_K = torch.arange(maxima_XK.shape[1], device=memory.device)
    part_K = block_K // maxima[0].shape[1]
    part_XK = part_XP.index_select(1, part_K)
    first_K, word_K = part_K * part_size, block_K * _BLOCK
    words_XW, values_XW = _best_of_blocks(
        memory, maxima_XK.add_(part_XK), part_XK, first_K, word_K, part_size, size, num_words
    )
    asked = values_XW[:, :0]
    if asked_XE is not None:
        asked_XPE = torch.stack(asked_XE_parts, dim=1) + part_XP[:, :, None]
        asked = asked_XPE.amax(1)
    return NextWords(words_XW, values_XW, eos_X + part_XP[:, 0], asked)


def check_numbers(log_probabilities: Tensor) -> None:
    """Raise UserError where there is a NaN."""
    if bool(log_probabilities.isnan().any()):
        raise UserError(
            "the model's output is not a number (NaN), so nothing can be translated with it",
            fix="training went wrong before this checkpoint was saved: choose an earlier one",
        )


def _part_size(num_rows: int, size: int, device: torch.device) -> int:
    """A power of two, at least four blocks, so that there are few sizes; unless it is everything."""
    most = (_PART_BYTES if device.type == "cpu" else _PART_BYTES_ON_GPU) // (4 * num_rows)
    return min(size, max(4 * _BLOCK, 1 << (max(1, most).bit_length() - 1)))


def _asked(values_XC: Tensor, asked_XE: Tensor, start: int) -> Tensor:
    """Values of the words that this part has, -inf for others."""
    place_XE = asked_XE - start
    is_here_XE = (place_XE >= 0) & (place_XE < values_XC.shape[1])
    found_XE = values_XC.gather(1, place_XE.clamp(0, values_XC.shape[1] - 1))
    return found_XE.masked_fill_(~is_here_XE, -torch.inf)


def _block_maxima(values_XC: Tensor) -> Tensor:
    num_words = values_XC.shape[1]
    whole = num_words // _BLOCK * _BLOCK
    parts = [values_XC[:, :whole].unflatten(1, (-1, _BLOCK)).amax(2)] if whole else []
    if whole < num_words:
        parts.append(values_XC[:, whole:].amax(1, keepdim=True))
    return torch.cat(parts, dim=1)


def _best_of_blocks(
    memory: Tensor,
    maxima_XK: Tensor,
    part_XK: Tensor,
    first_K: Tensor,
    word_K: Tensor,
    part_size: int,
    size: int,
    num_words: int,
) -> tuple[Tensor, Tensor]:
    """The largest values of each row and their words.

    memory: one part after the other, each [X, C]. part_XK: what is to be added to the values of a block.
    first_K, word_K: the first word of the block's part, and of the block.
    """
    num_rows = len(maxima_XK)
    blocks_XW = maxima_XK.topk(min(num_words, maxima_XK.shape[1]), dim=1, sorted=False).indices
    first_XW, word_XW = first_K[blocks_XW], word_K[blocks_XW]
    width_XW = (size - first_XW).clamp_(max=part_size)
    row_X1 = torch.arange(num_rows, device=memory.device)[:, None]
    cell_XW = first_XW * num_rows + row_X1 * width_XW + word_XW - first_XW
    offset_1 = torch.arange(_BLOCK, device=memory.device)
    word_XWC = word_XW[:, :, None] + offset_1
    # The last block of the vocabulary may be short.
    is_word_XWC = word_XWC < size
    values_XWC = memory[(cell_XW[:, :, None] + offset_1).clamp_(max=len(memory) - 1)]
    values_XWC = values_XWC + part_XK.gather(1, blocks_XW)[:, :, None]
    values_XWC.masked_fill_(~is_word_XWC, -torch.inf)
    best = values_XWC.flatten(1).topk(num_words, dim=1)
    return word_XWC.flatten(1).gather(1, best.indices), best.values
