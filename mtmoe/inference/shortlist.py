"""The output layer for likely words alone: those that are frequent in the target language, and those that the lexicon
knows for a subword of the source.

The words of a source are its own: neither its translation nor a probability depends on what else is in the batch.
Probabilities are normalised over these words, so they are higher than those of the whole vocabulary.

Letters: X rows, F words that are allowed always (the first is EOS), C further words of a source, K = F + C columns of a
row, W words wanted, E words asked for, D width, V vocabulary, N candidates of a source subword.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mtmoe.config.settings import Decoding
from mtmoe.config.settings import Shortlist as ShortlistSettings
from mtmoe.data.lexicon import Lexicon, load_lexicon
from mtmoe.inference.finished import group_starts
from mtmoe.inference.next_words import Ban, NextWords
from mtmoe.inference.search_model import SearchModel
from mtmoe.vocabulary import EOS, NUM_SPECIAL, PAD


class Shortlist:
    """Which words may be in the translation of a source."""

    def __init__(self, lexicon: Lexicon, settings: ShortlistSettings) -> None:
        frequent_F = lexicon.frequent_F[: settings.frequent].astype(np.int64)
        self.always_F = np.concatenate([[EOS], frequent_F])
        is_free_V = np.zeros(len(lexicon.candidates_VN), dtype=bool)
        is_free_V[self.always_F] = is_free_V[:NUM_SPECIAL] = True
        self._is_free_V = is_free_V
        # Those that are allowed anyway take no place among the candidates.
        candidates_VN = np.where(is_free_V[lexicon.candidates_VN], PAD, lexicon.candidates_VN)
        order_VN = np.argsort(candidates_VN == PAD, axis=1, kind="stable")[:, : settings.per_source_token]
        self._candidates_VN = np.take_along_axis(candidates_VN, order_VN, axis=1)

    def own_words(self, source_ids: Sequence[int], wanted: Iterable[int] = ()) -> np.ndarray:
        """Words for one source besides those that are allowed always, ascending (int64): the candidates of its
        subwords, those subwords themselves (a name is copied), and ``wanted`` ones."""
        source = np.asarray(source_ids, dtype=np.int64)
        wanted_words = np.fromiter(wanted, dtype=np.int64)
        words = np.unique(np.concatenate([self._candidates_VN[source].ravel(), source, wanted_words]))
        return words[~self._is_free_V[words]]


def shortlist_of(decoding: Decoding, lexicon_path: Path, vocabulary_size: int) -> Shortlist | None:
    """What ``decoding.shortlist`` says; None where it is absent.

    Raises:
        UserError: there is no lexicon, or one of another vocabulary.
    """
    if decoding.shortlist is None:
        return None
    return Shortlist(load_lexicon(lexicon_path, vocabulary_size), decoding.shortlist)


_GROUP_SOURCES = 8
"""Sources that share a matrix product. Each alone has few rows, which products are slow with; more together have more
words, most of which are of no use to most of them (4 to 64 take the same time, width 256, AVX2)."""


class _Group(NamedTuple):
    """Some sources that entered together. A: its sources, U: all of their words, C: words of the one with the most."""

    vectors_UD: Tensor
    columns_AC: Tensor
    """Where the words of each source are among those of the group; 0 behind its last."""


class _Own(NamedTuple):
    """Words of one source besides those that are allowed always."""

    words_C: Tensor
    num_words: int
    group: _Group
    place: int
    """Which source of the group it is."""


class ListedWords:
    """The next words of many hypotheses, each among the words of its source.

    Sources enter and leave as they are translated; the vectors of their words are gathered once.
    """

    def __init__(self, model: SearchModel, shortlist: Shortlist, device: torch.device | str) -> None:
        self._model, self._shortlist, self._device = model, shortlist, device
        self._always_F = torch.from_numpy(shortlist.always_F).to(device)
        self._vectors_FD = model.output_vectors(self._always_F)
        self._own: dict[int, _Own] = {}

    def enter(
        self,
        sources: Sequence[int],
        sources_ids: Sequence[Sequence[int]],
        wanted: Sequence[Iterable[int]] | None = None,
    ) -> None:
        """``sources``: their numbers from here on; ``wanted``: words of each that are allowed besides."""
        wanted = [()] * len(sources) if wanted is None else wanted
        words_A = [self._shortlist.own_words(ids, more) for ids, more in zip(sources_ids, wanted, strict=True)]
        for begin in range(0, len(sources), _GROUP_SOURCES):
            self._enter_group(sources[begin : begin + _GROUP_SOURCES], words_A[begin : begin + _GROUP_SOURCES])

    def _enter_group(self, sources: Sequence[int], words_A: Sequence[np.ndarray]) -> None:
        words_U = np.unique(np.concatenate(words_A))
        columns_AC = np.zeros((len(sources), max(map(len, words_A))), dtype=np.int64)
        for place, words_C in enumerate(words_A):
            columns_AC[place, : len(words_C)] = np.searchsorted(words_U, words_C)
        vectors_UD = self._model.output_vectors(torch.from_numpy(words_U).to(self._device))
        group = _Group(vectors_UD, torch.from_numpy(columns_AC).to(self._device))
        for place, (source, words_C) in enumerate(zip(sources, words_A, strict=True)):
            self._own[source] = _Own(torch.from_numpy(words_C).to(self._device), len(words_C), group, place)

    def leave(self, source: int) -> None:
        """Its words are forgotten (the vectors when the last one of its group leaves)."""
        del self._own[source]

    def next_words(
        self,
        hidden_XD: Tensor,
        source_X: np.ndarray,
        num_words: int,
        asked_XE: Tensor | None = None,
        ban: Ban | None = None,
    ) -> NextWords:
        """As :func:`mtmoe.inference.next_words.next_words`, of the words of the row's source; -inf for others.

        Args:
            source_X: the source of each row; rows of a source stand side by side.
        """
        starts_A, _ = group_starts(source_X)
        own_A = [self._own[source] for source in source_X[starts_A].tolist()]
        num_rows_A = np.diff(starts_A, append=len(source_X))
        sizes_A = np.array([own.num_words for own in own_A])
        num_always, num_own = len(self._always_F), int(sizes_A.max())
        num_columns = max(num_always + num_own, num_words + 1)
        logits_XK = torch.empty(len(hidden_XD), num_columns, device=hidden_XD.device)
        logits_XK[:, :num_always] = hidden_XD @ self._vectors_FD.t()
        logits_XK[:, num_always + num_own :] = -torch.inf
        own_XC = logits_XK[:, num_always : num_always + num_own]
        place_X = torch.from_numpy(np.repeat([own.place for own in own_A], num_rows_A)).to(hidden_XD.device)
        begin = 0
        for _, members in itertools.groupby(zip(own_A, num_rows_A.tolist(), strict=True), lambda m: id(m[0].group)):
            in_group = list(members)
            end = begin + sum(num_rows for _, num_rows in in_group)
            vectors_UD, columns_AC = in_group[0][0].group
            logits_XU = hidden_XD[begin:end] @ vectors_UD.t()
            columns_XC = columns_AC.index_select(0, place_X[begin:end])[:, :num_own]
            own_XC[begin:end, : columns_XC.shape[1]] = logits_XU.gather(1, columns_XC)
            begin = end
        words = _Columns(self._always_F, own_A, num_rows_A, sizes_A, num_columns)
        own_XC.masked_fill_(words.is_absent(num_own), -torch.inf)
        values_XK = logits_XK.log_softmax(1)
        eos_X = values_XK[:, 0].clone()
        asked = values_XK[:, :0] if asked_XE is None else words.values_of(asked_XE, values_XK)
        if ban is not None:
            words.put_out(ban, values_XK)
        best = values_XK[:, 1:].topk(num_words, dim=1)
        return NextWords(words.at(best.indices + 1), best.values, eos_X, asked)


class _Columns:
    """Which word each column of a row stands for; PAD where a row has no word."""

    def __init__(
        self,
        always_F: Tensor,
        own_A: Sequence[_Own],
        num_rows_A: np.ndarray,
        sizes_A: np.ndarray,
        num_columns: int,
    ) -> None:
        device = always_F.device
        self._always_F, self._num_columns = always_F, num_columns
        self._flat = torch.cat([*(own.words_C for own in own_A), always_F.new_full((1,), PAD)])
        first_A = sizes_A.cumsum() - sizes_A
        self._first_X = torch.from_numpy(np.repeat(first_A, num_rows_A)).to(device)
        self._size_X = torch.from_numpy(np.repeat(sizes_A, num_rows_A)).to(device)

    def is_absent(self, num_own: int) -> Tensor:
        """Which of the ``num_own`` columns after those that all have stand for nothing [X, C]."""
        return torch.arange(num_own, device=self._always_F.device) >= self._size_X[:, None]

    def at(self, columns_XW: Tensor) -> Tensor:
        """The words of some columns of each row."""
        num_always = len(self._always_F)
        place_XW = columns_XW - num_always
        cells_XW = torch.where(place_XW < self._size_X[:, None], place_XW + self._first_X[:, None], len(self._flat) - 1)
        always_XW = self._always_F[columns_XW.clamp(max=num_always - 1)]
        return torch.where(place_XW < 0, always_XW, self._flat[cells_XW.clamp_(min=0)])

    def values_of(self, asked_XE: Tensor, values_XK: Tensor) -> Tensor:
        """The values of the asked words; -inf for those that are not of the row's."""
        is_it_XEK = self._everything()[:, None, :] == asked_XE[:, :, None]
        column_XE = is_it_XEK.int().argmax(2)
        return values_XK.gather(1, column_XE).masked_fill(~is_it_XEK.any(2), -torch.inf)

    def put_out(self, ban: Ban, values_XK: Tensor) -> None:
        """-inf for words that must not be found, in place."""
        cells, columns = (self._everything()[ban.rows] == ban.words[:, None]).nonzero(as_tuple=True)
        values_XK[ban.rows[cells], columns] = -torch.inf

    def _everything(self) -> Tensor:
        columns_K = torch.arange(self._num_columns, device=self._always_F.device)
        return self.at(columns_K.expand(len(self._first_X), -1))
