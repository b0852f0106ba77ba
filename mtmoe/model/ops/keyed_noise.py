"""Keyed noise: random numbers of a token that do not depend on the tokens beside it, nor on the number of devices.

A number is a hash of (seed of the batch, side, how many draws came before, sentence, position, place in the row). So
the dropout and the gate noise of a sentence do not depend on the sentences beside it, nor on the process it is on. On
a CPU the hash costs less than the Mersenne Twister of torch does.

Letters: L positions of the side, R rows of tokens.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from mtmoe.model.ops.rows import real_positions
from mtmoe.system.splitmix64 import FIRST_FACTOR, SECOND_FACTOR, STEP, mix, signed


class TokenNoise:
    """The random numbers of one side, source or target, of one batch after another."""

    def __init__(self, side: int) -> None:
        self._side = side
        self._sentence_keys_B = self._token_keys_N = torch.zeros(0, dtype=torch.int64)
        self._position_keys_BL = torch.zeros(0, 0, dtype=torch.int64)
        self._positions_N = torch.zeros(0, dtype=torch.int64)
        self._batch_key = 0
        self._num_draws = 0

    def begin(self, seed: int, sentences_B: Tensor, lengths_B: Tensor, length: int) -> None:
        """Begin a batch of sentences, whose numbers are those of ``sentences_B`` under ``seed``.

        lengths_B: real tokens of each; length: positions with padding.
        """
        self._num_draws = 0
        self._batch_key = signed(seed + self._side * FIRST_FACTOR)
        self._sentence_keys_B = mix(sentences_B * STEP + self._batch_key)
        self._positions_N = positions_N = real_positions(lengths_B, length)
        self._position_keys_BL = _position_keys(self._sentence_keys_B, length)
        self._token_keys_N = self._position_keys_BL.flatten().index_select(0, positions_N)

    def words(self, shape: torch.Size, num_words: int) -> Tensor:
        """Draw 64 random bits ``num_words`` times for each row of a tensor of that shape: int64 [*shape[:-1],
        num_words].

        shape: [B, L, D], or [N, D] of the real tokens. Not rows of one position after another: how many draws come
        before the next layer's would depend on the batch's width.
        """
        if len(shape) == 3:
            same = shape[1] == self._position_keys_BL.shape[1]
            keys = self._position_keys_BL if same else _position_keys(self._sentence_keys_B, shape[1])
        elif shape[0] == self._token_keys_N.shape[0]:
            keys = self._token_keys_N
        else:
            raise ValueError(f"{shape[0]} rows are not the {self._token_keys_N.shape[0]} tokens of the batch")
        return self._drawn(keys, num_words)

    def sentence_words(self, num_words: int) -> Tensor:
        """Draw 64 random bits ``num_words`` times for each sentence, for all its tokens alike: int64 [B, num_words]."""
        return self._drawn(self._sentence_keys_B, num_words)

    def sentences_of_tokens(self) -> Tensor:
        """Return the place in the batch of the sentence of each real token: int64 [N]."""
        return self._positions_N.div(max(1, self._position_keys_BL.shape[1]), rounding_mode="floor")

    def shared_words(self, numbers: Tensor, num_words: int) -> Tensor:
        """Draw 64 random bits ``num_words`` times for each of some numbers, such as ids of words or rows of a matrix;
        all sentences of the batch, on any process, share what is drawn for a number: int64 [*shape, num_words]."""
        return self._drawn(mix(numbers * SECOND_FACTOR + self._batch_key), num_words)

    def normal(self, like_NE: Tensor) -> Tensor:
        """Draw standard normal numbers as ``like_NE``, of its type, a row for each of the N real tokens."""
        return normal_of_keys(self._of_this_draw(self._token_keys_N), like_NE)

    def row_keys(self, tokens_R: Tensor, streams_R: Tensor) -> Tensor:
        """Return keys of a draw for rows of the real tokens ``tokens_R``, int64 [R]: with them any process can draw
        (:func:`normal_of_keys`). streams_R keeps rows of the same token apart."""
        keys_R = self._token_keys_N.index_select(0, tokens_R)
        return self._of_this_draw(mix(keys_R + (streams_R + 1) * SECOND_FACTOR))

    def _drawn(self, keys: Tensor, num_words: int) -> Tensor:
        return _words_of_keys(self._of_this_draw(keys), num_words)

    def _of_this_draw(self, keys: Tensor) -> Tensor:
        self._num_draws += 1
        return mix(keys + signed(self._num_draws * FIRST_FACTOR))


class SideNoise(NamedTuple):
    """The noise of both sides of a batch. Only the encoder has tokens of the source."""

    source: TokenNoise
    target: TokenNoise


def new_side_noise() -> SideNoise:
    """Return noise of both sides, whose first batch is not begun yet."""
    return SideNoise(TokenNoise(0), TokenNoise(1))


def normal_of_keys(keys_R: Tensor, like_RE: Tensor) -> Tensor:
    """Return the standard normal numbers of a draw's keys, as ``like_RE``."""
    return _normal(_words_of_keys(keys_R, -(-like_RE.shape[1] // 2)), like_RE)


def _words_of_keys(keys: Tensor, num_words: int) -> Tensor:
    return mix(keys[..., None] + torch.arange(num_words, device=keys.device) * STEP)


def _position_keys(keys_B: Tensor, length: int) -> Tensor:
    return mix(keys_B[:, None] + torch.arange(length, device=keys_B.device) * SECOND_FACTOR)


def _normal(words: Tensor, like_RE: Tensor) -> Tensor:
    """Return normal numbers by Box and Muller: two from each 64 bits."""
    draws = words.view(torch.int32).to(like_RE.dtype)
    half = words.shape[1]
    # 32 bits as a float32 may round to 0, of which there is no logarithm.
    uniform = draws[:, :half].mul_(2.0**-32).add_(0.5).clamp_(min=2.0**-33)
    radius, angle = uniform.log_().mul_(-2.0).sqrt_(), draws[:, half:].mul_(math.pi * 2.0**-31)
    return torch.cat((radius * angle.cos(), radius * angle.sin()), dim=1)[:, : like_RE.shape[1]]
