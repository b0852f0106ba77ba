"""Sampling: words are drawn from the model's distribution. What is drawn for a line depends on nothing but that line.

A word is drawn as the argmax of log p / temperature + g, with g an independent Gumbel number for each word of the
vocabulary. (Looking a uniform number up in cumulated probabilities would be cheaper, but the thousands of boundaries
move with the last bits of the logits, which differ with the batch; here only two best sums can come too close.) The
numbers are those of SplitMix64 (Steele et al. 2014), whose n-th output is a function of the key and of n, so they are
computed where they are needed, on any device: the key belongs to seed, line, sample and position, n is the word.

Letters: X rows, D model width, V vocabulary, C words that may be drawn.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mtmoe.config.settings import Sampling
from mtmoe.data.random_streams import Purpose, random_stream
from mtmoe.inference.search.search_model import SearchModel
from mtmoe.system.splitmix64 import STEP, mix, shift_right
from mtmoe.vocabulary import EOS, NUM_SPECIAL

_CELLS_AT_ONCE = 1 << 18  # of [X, V]: on a CPU what the cache holds
_CELLS_AT_ONCE_ON_GPU = 1 << 26
_SYMBOLS = slice(0, NUM_SPECIAL)


def sample_keys(seed: int, number: int, sample: int, num_positions: int) -> list[int]:
    """Return a key for each position of one sample of the line ``number``: 64 bits, signed as torch has them."""
    keys = random_stream(Purpose.DRAWN_WORDS, seed, number, sample).integers(0, 2**64, num_positions, dtype="uint64")
    signed: list[int] = keys.astype("int64").tolist()
    return signed


def sample_words(
    model: SearchModel[Any, Any],
    hidden_XD: Tensor,
    keys_X: Tensor,
    sampling: Sampling,
    is_banned_XV: Tensor | None = None,
    not_words: slice | list[int] = _SYMBOLS,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw the next word, which may be EOS, of each row.

    Banned words and special symbols but EOS are never drawn; the others are drawn in proportion to their probabilities.

    Args:
        keys_X: int64, of :func:`sample_keys`.
        is_banned_XV: True for what must not be drawn.
        not_words: an index into the vocabulary of symbols that are not to be drawn in any row; EOS may be all the same.

    Returns:
        word_X, its log-probability in the model's own distribution (temperature 1, nothing cut off), and that of EOS.
    """
    cells = _CELLS_AT_ONCE if hidden_XD.device.type == "cpu" else _CELLS_AT_ONCE_ON_GPU
    num_rows = max(1, cells // model.vocabulary_size)
    found = []
    for start in range(0, len(hidden_XD), num_rows):
        rows = slice(start, start + num_rows)
        log_probabilities_XV = model.project(hidden_XD[rows]).log_softmax(1)
        tempered_XV = log_probabilities_XV / sampling.temperature
        tempered_XV[:, not_words] = -torch.inf
        tempered_XV[:, EOS] = log_probabilities_XV[:, EOS] / sampling.temperature
        if is_banned_XV is not None:
            tempered_XV.masked_fill_(is_banned_XV[rows], -torch.inf)
        words_XC, tempered_XC = _candidates(tempered_XV, sampling)
        drawn_X1 = (tempered_XC + gumbel_numbers(keys_X[rows], words_XC)).argmax(1, keepdim=True)
        word_X1 = words_XC.gather(1, drawn_X1)
        found.append((word_X1, log_probabilities_XV.gather(1, word_X1), log_probabilities_XV[:, EOS : EOS + 1]))
    words, log_probabilities, ends = (torch.cat(parts)[:, 0] for parts in zip(*found, strict=True))
    return words, log_probabilities, ends


def _candidates(tempered_XV: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Return the words that may be drawn, and their values (-inf for what is cut off)."""
    size = tempered_XV.shape[1]
    num_words = min(sampling.top_k or size, size)
    if num_words == size and sampling.top_p == 1.0:
        return torch.arange(size, device=tempered_XV.device).expand_as(tempered_XV), tempered_XV
    values_XC, words_XC = tempered_XV.topk(num_words, dim=1)
    if sampling.top_p < 1.0:
        # The fewest words, likeliest first, that reach top_p of what top_k leaves: a word is in as long as those before
        # it do not reach it, so the first always is.
        probability_XC = values_XC.double().softmax(1)
        before_XC = probability_XC.cumsum(1) - probability_XC
        values_XC = values_XC.masked_fill(before_XC >= sampling.top_p, -torch.inf)
    return words_XC, values_XC


def gumbel_numbers(keys_X: Tensor, words_XC: Tensor) -> Tensor:
    """Return independent numbers of the standard Gumbel distribution for each key and word: float64 [X, C]."""
    bits_XC = mix(keys_X[:, None] + (words_XC + 1) * STEP)
    uniform_XC = (shift_right(bits_XC, 11).double() + 0.5) * 2.0**-53  # in (0, 1): neither logarithm is infinite
    return -(-uniform_XC.log()).log()
