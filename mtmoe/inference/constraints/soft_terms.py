"""Soft terminology: terms that a translation may copy where the model attends to them, one more way to come to a word.

A hypothesis is either written by the model or in the middle of a term. Written by the model, at each step it begins the
translation of term j with the probability ``share x (attention to j's subwords)``, and otherwise goes on with the
model's word; in the middle of a term it goes on with the term. Which of them it was cannot be seen in the words, so
that a word has the sum of both,

::

    P(w) = P(model) [(1 - sum_j s_j) p(w) + sum_j s_j 1(w = first of j)] + sum over terms begun P(begun) 1(w = next)

and with each word the probabilities of having begun a term are filtered (Bayes). Attention to a subword that several
terms own is divided between them, so that everything sums to 1: a translation in which a term does not fit goes without
it, at a price. A term is copied once, however often the source has it. (With a language model in the search, p is what
both models make of the word, and copies are not weighed by it.)

(The mixture of a vocabulary with copies from the source is that of pointer networks, See et al. 2017.)

Letters: S source positions, C candidates of a hypothesis.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mtmoe.inference.constraints.phrases import Words, occurs


class SoftTerm(NamedTuple):
    """positions: subwords of the source that are the term. ids: of its translation. going_on: subwords behind which
    that would be a part of a longer word."""

    positions: tuple[int, ...]
    ids: Words
    going_on: frozenset[int] = frozenset()


class Copying(NamedTuple):
    """The last ``num_words`` of a hypothesis were copied from a term, and more is to come; with that probability."""

    term: int
    num_words: int
    probability: float


class Mixture(NamedTuple):
    """What may come next: the model's word with the probability ``model``, or a copied one.

    begin: by term, begins it; go_on: goes on with one that is begun.
    """

    model: float
    terms: tuple[SoftTerm, ...]
    begin: tuple[Copying, ...]
    go_on: tuple[Copying, ...]

    def copied(self) -> dict[int, float]:
        """Return the words that may be copied, each with its probability."""
        words: dict[int, float] = defaultdict(float)
        for begun in (*self.begin, *self.go_on):
            words[self.terms[begun.term].ids[begun.num_words]] += begun.probability
        return dict(words)

    def mixed(self, log_p_C: np.ndarray, words_C: np.ndarray, first_proposed: int) -> np.ndarray:
        """Return log P of candidates, of which the model has log_p_C; those to copy are from first_proposed on."""
        copied = self.copied()
        mixed_C = np.full(len(log_p_C), -np.inf)
        for column in np.flatnonzero(log_p_C > -np.inf):
            by_copying = copied.get(int(words_C[column]), 0.0) if column >= first_proposed else 0.0
            mixed_C[column] = self.log_probability(float(log_p_C[column]), by_copying)
        return mixed_C

    def log_probability(self, log_p: float, copied: float = 0.0) -> float:
        """Return log P of a word of which the model has log_p, and which is copied with the probability ``copied``."""
        probability = self.model * math.exp(log_p) + copied
        # Far in the tail exp is 0, but its logarithm is known.
        return math.log(probability) if copied and probability > 0 else log_p + math.log(self.model)

    def after(self, word: int, log_p: float) -> tuple[Copying, ...]:
        """Return what may be begun once ``word`` has come, of which the model has log_p."""
        ways = [way for way in (*self.begin, *self.go_on) if self.terms[way.term].ids[way.num_words] == word]
        total = self.model * math.exp(log_p) + sum(way.probability for way in ways)
        return tuple(
            Copying(way.term, way.num_words + 1, way.probability / total)
            for way in ways
            if way.num_words + 1 < len(self.terms[way.term].ids) and way.probability > _LEAST * total
        )


_LEAST = 1e-6  # less is nothing, and every hypothesis has something of the model's own


def mixture_after(
    ids: Words,
    begun: Sequence[Copying],
    terms: tuple[SoftTerm, ...],
    attention_S: Sequence[float] | np.ndarray,
    share: float,
) -> Mixture | None:
    """Return what may come after ``ids``; None where it is the model's word in any case.

    A term of which the translation is there already is not begun once more.

    Args:
        begun: as :meth:`Mixture.after` gave it for the last word; () at the beginning.
        attention_S: of this step; what is behind the source's end does not matter.
        share: 0 to 1, both excluded.
    """
    written_by_model = max(_LEAST, 1.0 - sum(way.probability for way in begun))
    num_owners = Counter(position for term in terms for position in term.positions)
    begin = []
    for number, term in enumerate(terms):
        mass = share * sum(attention_S[position] / num_owners[position] for position in term.positions)
        if mass > _LEAST and not occurs(term.ids, ids, term.going_on):
            begin.append(Copying(number, 0, written_by_model * mass))
    if not begin and not begun:
        return None
    model = max(_LEAST, written_by_model - sum(way.probability for way in begin))
    return Mixture(model, terms, tuple(begin), tuple(begun))
