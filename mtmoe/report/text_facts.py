"""Facts of a run's text: lengths, subwords, and how often words and subwords come in its training text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np

from mtmoe.data.prepared.corpus import ParallelCorpus, Side
from mtmoe.data.prepared.data_directory import Prepared
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.data.words import words_of
from mtmoe.vocabulary import UNK

MOST_SENTENCES = 100_000
"""Of the training text that words are counted in; of longer text, as many in even steps."""
MOST_LENGTHS = 1_000_000
"""Sentences whose lengths are looked at, in the same way."""
_SENTENCES_AT_ONCE = 10_000
_QUANTILES = (0.5, 0.95, 0.99)


class Lengths(NamedTuple):
    """Lengths of sentences in subwords, without special symbols. num_counted: sentences that were looked at."""

    num_sentences: int
    num_counted: int
    mean: float
    median: float
    most_of_95: float
    most_of_99: float
    longest: int


class SubwordFacts(NamedTuple):
    """Subwords of sentences: in all, for each word, and those that are single bytes or unknown characters."""

    num_words: int
    num_subwords: int
    num_bytes_or_unknown: int

    @property
    def per_word(self) -> float:
        """Return the mean subwords of a word."""
        return self.num_subwords / max(self.num_words, 1)


class WordCounts(NamedTuple):
    """How often words come in training text, in small letters. num_sentences: that were looked at, of all_sentences."""

    times: Counter[str]
    num_sentences: int
    all_sentences: int


def open_corpus(prepared: Prepared, part: Literal["train", "valid"]) -> ParallelCorpus:
    """Return the encoded text of a part, which is not read through, as it is for training.

    Raises:
        UserError: it is damaged.
    """
    return ParallelCorpus(prepared.directory / part)


def lengths_of(side: Side) -> Lengths | None:
    """Return the lengths of a side's sentences; of more than a million of as many in even steps. None of no text."""
    number = len(side.offsets) - 1
    if not number or not len(side.ids):
        return None
    places = _even_places(number, MOST_LENGTHS)
    lengths = (side.offsets[places + 1] - side.offsets[places]).astype(np.int64)
    median, of_95, of_99 = np.quantile(lengths, _QUANTILES).tolist()
    return Lengths(number, len(places), float(lengths.mean()), median, of_95, of_99, int(lengths.max()))


def subword_facts(sentences: Iterable[str], side: Side, pieces: list[str]) -> SubwordFacts:
    """Return facts of a side's subwords; ``sentences`` are their text."""
    is_odd_V = np.array([number == UNK or _is_byte(piece) for number, piece in enumerate(pieces)])
    ids = np.asarray(side.ids)
    return SubwordFacts(sum(len(words_of(text)) for text in sentences), len(ids), int(is_odd_V[ids].sum()))


def subword_times(side: Side, vocabulary_size: int) -> np.ndarray:
    """Return how often each subword comes in the sentences that :func:`word_counts` looks at, int64 [V]."""
    times_V = np.zeros(vocabulary_size, np.int64)
    for place in _even_places(len(side.offsets) - 1, MOST_SENTENCES).tolist():
        times_V += np.bincount(side[place], minlength=vocabulary_size)
    return times_V


def word_counts(corpus: ParallelCorpus, side: Side, subwords: SubwordModel) -> WordCounts:
    """Return how often words come in a side of the training text."""
    places = _even_places(len(corpus), MOST_SENTENCES)
    times: Counter[str] = Counter()
    for begin in range(0, len(places), _SENTENCES_AT_ONCE):
        ids = [side[place].tolist() for place in places[begin : begin + _SENTENCES_AT_ONCE].tolist()]
        for text in subwords.decode_batch(ids):
            times.update(words_of(text.lower()))
    return WordCounts(times, len(places), len(corpus))


def _even_places(number: int, most: int) -> np.ndarray:
    """Return at most so many of the places 0 to number - 1, in even steps."""
    places: np.ndarray = np.arange(min(number, most), dtype=np.int64) * number // max(min(number, most), 1)
    return places


def _is_byte(piece: str) -> bool:
    return len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")
