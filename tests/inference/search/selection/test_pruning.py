"""Pruning, in cases small enough to be worked out by hand."""

from __future__ import annotations

import numpy as np

from mtmoe.inference.search.selection.pruning import is_near_best


def test_hypotheses_far_behind_the_best_of_their_own_beam_are_not_near_it():
    scores_X = np.array([-3.0, -1.0, -2.0, -9.0, -9.5])
    assert is_near_best(scores_X, np.array([5, 5, 5, 2, 2]), 1.0).tolist() == [False, True, True, True, True]
    assert is_near_best(scores_X, np.array([5, 5, 5, 2, 2]), 0.4).tolist() == [False, True, False, True, False]
    assert is_near_best(scores_X[:0], np.array([], dtype=int), 1.0).tolist() == []
