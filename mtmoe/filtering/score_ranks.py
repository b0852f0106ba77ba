"""Scores by their rank, of more scores than fit into memory: two passes over them, each with a table of counts.

A float32 is read as a whole number of 32 bits in the same order. The first pass counts by the upper 16 bits, the second
by the lower 16 bits of those scores that share the upper ones with a score that is looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

ScoreBatches = Callable[[], Iterator[np.ndarray]]
"""Begins to yield all scores anew, float32, some at a time."""

_HALF_BITS = 16
_SIZE = 1 << _HALF_BITS
_SIGN = np.uint32(1 << 31)


class RankedScore(NamedTuple):
    """A score; how many are smaller, and how many are the same."""

    score: float
    num_below: int
    num_equal: int


def scores_at_ranks(batches: ScoreBatches, ranks: Sequence[int]) -> list[RankedScore]:
    """Return the scores of the given ranks (0: the smallest), in constant memory.

    Raises:
        ValueError: a rank is not one of the scores'.
    """
    high = np.zeros(_SIZE, np.int64)
    for scores in batches():
        high += np.bincount(_ordered(scores) >> _HALF_BITS, minlength=_SIZE)
    up_to = high.cumsum()
    if any(not 0 <= rank < up_to[-1] for rank in ranks):
        raise ValueError(f"ranks {list(ranks)} of {up_to[-1]} scores")
    uppers = [int(np.searchsorted(up_to, rank, side="right")) for rank in ranks]
    lows = {upper: np.zeros(_SIZE, np.int64) for upper in uppers}
    for scores in batches():
        ordered = _ordered(scores)
        for upper, low in lows.items():
            low += np.bincount(ordered[ordered >> _HALF_BITS == upper] & (_SIZE - 1), minlength=_SIZE)
    found = []
    for rank, upper in zip(ranks, uppers, strict=True):
        num_below = int(up_to[upper] - high[upper])
        low_up_to = lows[upper].cumsum()
        lower = int(np.searchsorted(low_up_to, rank - num_below, side="right"))
        num_equal = int(lows[upper][lower])
        score = _score(upper << _HALF_BITS | lower)
        found.append(RankedScore(score, num_below + int(low_up_to[lower]) - num_equal, num_equal))
    return found


def _ordered(scores: np.ndarray) -> np.ndarray:
    """Return whole numbers (uint32) in the order of the scores; -0.0 counts as 0.0."""
    bits = (scores.astype(np.float32) + np.float32(0.0)).view(np.uint32)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _score(ordered: int) -> float:
    bits = np.uint32(ordered)
    bits = bits ^ _SIGN if bits & _SIGN else ~bits
    return float(np.array([bits], np.uint32).view(np.float32)[0])
