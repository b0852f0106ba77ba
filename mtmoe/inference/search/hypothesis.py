"""What a search is asked for a source, what it finds, and GNMT's score of it (Wu et al. 2016, section 7).

::

    s(Y, X) = log P(Y|X) / lp(Y) + cp(X; Y)
    lp(Y)   = ((5 + |Y|) / 6) ^ alpha
    cp      = beta * sum over source positions i of log(min(sum over target positions j of p_ij, 1))

What the paper leaves open is decided here: |Y| counts EOS; i runs over all real source positions, EOS
included, never over padding; a position without any attention costs log(1e-6) and not infinity.

Letters: S source positions, T target positions, X hypotheses.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from mtmoe.inference.constraints.phrases import NO_PHRASES, Phrases
from mtmoe.inference.constraints.placeholders import Placeholders
from mtmoe.inference.constraints.soft_terms import SoftTerm

COVERAGE_FLOOR = 1e-6
"""Least attention that a source position counts with, so that its logarithm stays finite."""


class SearchTask(NamedTuple):
    """What is asked of the translation of one source; by default nothing. Ids are subwords without special symbols.

    prefix_ids: how it must begin. phrases: what must occur in it somewhere. number: of the source in all of the input;
    with the seed it decides what is drawn, if anything is. placeholders: what it must have just as the source has it.
    soft_terms: what it may copy where the model attends to it.
    """

    prefix_ids: tuple[int, ...] = ()
    phrases: Phrases = NO_PHRASES
    number: int = 0
    placeholders: Placeholders | None = None
    soft_terms: tuple[SoftTerm, ...] = ()

    @property
    def has_demands(self) -> bool:
        """Whether anything must occur in it somewhere."""
        return bool(len(self.phrases) or self.placeholders)


class Hypothesis(NamedTuple):
    """One way to translate a sentence, complete."""

    ids: tuple[int, ...]
    """Subwords without BOS and EOS."""
    log_probability: float
    """log P(Y|X), natural logarithm, EOS included."""
    score: float
    """GNMT's s(Y, X), which ranks."""
    token_log_probabilities: tuple[float, ...]
    """One for each subword, then EOS's."""
    cut_off: bool
    """The greatest length was reached and EOS forced, though the model found another symbol likelier."""
    attention: Tensor | None = None
    """[T, S], float32 on the CPU: what each subword, then EOS, attended to in the source, EOS included. Kept only
    when it is asked for."""
    gain: float = 0.0
    """What soft terms added to the score while it was found. It is in the rank, but not in ``score``."""


NOTHING = Hypothesis((), 0.0, 0.0, (), False)
"""The translation of a source without subwords, for which nothing is computed."""


def length_penalty(num_tokens: Any, alpha: float) -> Any:
    """GNMT's lp for a number (or array of numbers) of target tokens, EOS counted."""
    return ((5.0 + num_tokens) / 6.0) ** alpha


def coverage_penalty(coverage_XS: Tensor, is_real_XS: Tensor, beta: float) -> Tensor:
    """GNMT's cp [X] from the attention that each source position has received in all."""
    covered_XS = coverage_XS.clamp(COVERAGE_FLOOR, 1.0).log()
    return beta * (covered_XS * is_real_XS).sum(dim=-1)
