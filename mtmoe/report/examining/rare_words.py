"""Rare words: how well sentences and words are translated by how often words come in the training text."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mtmoe.data.words import words_of

BOUNDS = (1, 10, 100, 1000)
"""Times in the training text: a band is from one bound to below the next."""
LONGEST = 3
"""Words of an n-gram."""


class Recall(NamedTuple):
    """N-grams of the references whose rarest word is in a band.

    num_found, num_all: of 1 to :data:`LONGEST` words; an n-gram is found as often as the translation of its sentence
    has it, at most as often as the reference does.
    """

    band: str
    num_found: tuple[int, ...]
    num_all: tuple[int, ...]


def band_names() -> list[str]:
    """Return the names of the bands, the rarest words first."""
    between = [f"{low:,} to {high - 1:,}" for low, high in itertools.pairwise(BOUNDS)]
    return ["never", *between, f"{BOUNDS[-1]:,} and more"]


def band_of(times: int) -> int:
    """Return the number of the band of a word that comes so often."""
    return sum(times >= bound for bound in BOUNDS)


def rarest_band(text: str, times: Mapping[str, int]) -> int | None:
    """Return the band of the rarest word of a sentence; None if it has no word."""
    found = [times.get(word, 0) for word in words_of(text.lower())]
    return band_of(min(found)) if found else None


def recall_by_band(references: Sequence[str], translations: Sequence[str], times: Mapping[str, int]) -> list[Recall]:
    """Return the recall of n-grams of words, in small letters, of each band."""
    names = band_names()
    found, every = ([[0] * LONGEST for _ in names] for _ in range(2))
    for reference, translation in zip(references, translations, strict=True):
        reference_words, translation_words = (words_of(text.lower()) for text in (reference, translation))
        for length in range(1, LONGEST + 1):
            there = _ngrams(translation_words, length)
            for ngram, number in _ngrams(reference_words, length).items():
                band = band_of(min(times.get(word, 0) for word in ngram))
                every[band][length - 1] += number
                found[band][length - 1] += min(number, there[ngram])
    return [Recall(name, tuple(f), tuple(e)) for name, f, e in zip(names, found, every, strict=True)]


def _ngrams(words: Sequence[str], length: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[begin : begin + length]) for begin in range(len(words) - length + 1))
