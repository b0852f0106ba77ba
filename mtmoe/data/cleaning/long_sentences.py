"""Sentences of dev and test text that are far longer than others: all are measured, however long, and what attention
takes for one grows with the square of its length."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from mtmoe.data.raw.sentence_pairs import Pair
from mtmoe.data.subwords.vocabularies import Vocabulary

_PAIRS_AT_ONCE = 4096
_MOST = 3


class LongSentence(NamedTuple):
    """number: in its set, from 1. num_subwords: of its longer side, or of its words in a vocabulary of words."""

    number: int
    num_subwords: int


def pair_lengths(pairs: Iterable[Pair], vocabulary: Vocabulary) -> np.ndarray:
    """Return the subwords of the longer side of each pair, int64."""
    iterator, lengths = iter(pairs), [np.zeros(0, np.int64)]
    while chunk := list(itertools.islice(iterator, _PAIRS_AT_ONCE)):
        sides = [[len(ids) for ids in vocabulary.encode_batch(side)] for side in map(list, zip(*chunk, strict=True))]
        lengths.append(np.maximum(*np.array(sides, np.int64)))
    return np.concatenate(lengths)


def longest_sentences(lengths: np.ndarray) -> list[LongSentence]:
    """Return the three longest, or all where they are fewer, the longest first."""
    order = np.argsort(-lengths, kind="stable")[:_MOST]
    return [LongSentence(int(place) + 1, int(lengths[place])) for place in order]
