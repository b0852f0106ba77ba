"""GNMT score: length penalty and coverage penalty of a translation (Wu et al. 2016, section 7, equation 14).

::

    s(Y, X) = log P(Y|X) / lp(Y) + cp(X; Y)
    lp(Y)   = ((5 + |Y|) / 6) ^ alpha
    cp      = beta * sum over source positions i of log(min(sum over target positions j of p_ij, 1))

What that paper leaves open is decided here (`docs/explanation/paper.md#gnmt-score`): |Y| counts EOS; i runs over all
real source positions, EOS included, never over padding; a position without any attention costs log(1e-6) and not
infinity.

Letters: S source positions, X hypotheses.
"""

from __future__ import annotations

from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from torch import Tensor

Number = TypeVar("Number", float, np.ndarray)

COVERAGE_FLOOR = 1e-6
"""Least attention that a source position counts with, so that its logarithm stays finite."""


def length_penalty(num_tokens: Number, alpha: float) -> Number:
    """Return GNMT's lp for a number (or an array of numbers) of target tokens, EOS counted."""
    penalty: Number = ((5.0 + num_tokens) / 6.0) ** alpha
    return penalty


def coverage_penalty(coverage_XS: Tensor, is_real_XS: Tensor, beta: float) -> Tensor:
    """Return GNMT's cp [X].

    Args:
        coverage_XS: attention that each source position has received in all.
        is_real_XS: False for padding.
    """
    covered_XS = coverage_XS.clamp(COVERAGE_FLOOR, 1.0).log()
    return beta * (covered_XS * is_real_XS).sum(dim=-1)


@runtime_checkable
class FindsCoveragePenalty(Protocol):
    """A model that finds the coverage penalty by itself, so that its own search has the same."""

    def coverage_penalty(self, coverage_XS: Tensor, source_lengths_X: Tensor, beta: float) -> Tensor:
        """Return what :func:`coverage_penalty` does [X], float64; positions past a row's length do not count."""
