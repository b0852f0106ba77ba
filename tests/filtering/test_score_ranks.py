"""Scores by rank against a sort."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from mtmoe.filtering.score_ranks import RankedScore, scores_at_ranks


def in_parts(scores: np.ndarray) -> Callable[[], Iterator[np.ndarray]]:
    return lambda: iter(np.array_split(scores, 7))


@pytest.mark.parametrize("num_digits", [1, 6])
def test_scores_are_those_of_a_sort_with_what_is_below_and_equal(num_digits: int) -> None:
    scores = np.round(3 * np.random.default_rng(1).normal(size=20_000), num_digits).astype(np.float32)
    scores[:3] = (-np.inf, -0.0, 1e-42)
    ordered = np.sort(scores)
    ranks = [0, 1, 9_999, 5_000, 10_050, 19_999]
    for rank, found in zip(ranks, scores_at_ranks(in_parts(scores), ranks), strict=True):
        below, equal = (scores < ordered[rank]).sum(), (scores == ordered[rank]).sum()
        assert found == RankedScore(float(ordered[rank]), below, equal)


def test_a_rank_beyond_the_scores_is_refused() -> None:
    with pytest.raises(ValueError, match="ranks"):
        scores_at_ranks(in_parts(np.zeros(8, np.float32)), [8])
