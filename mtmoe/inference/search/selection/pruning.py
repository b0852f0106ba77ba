"""Pruning: hypotheses and words that are too far behind the best.

``decoding.prune_margin`` is GNMT's pruning (Wu et al. 2016, section 7), of words and of finished hypotheses;
``decoding.beam_margin`` is relative threshold pruning (Freitag and Al-Onaizan 2017), of active hypotheses.

Letters: X active hypotheses, C candidates of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mtmoe.inference.search.beam_groups import best_of_group, group_starts

if TYPE_CHECKING:
    from mtmoe.inference.search.finished_hypotheses import FinishedHypothesis


def prune_unlikely_words(log_probabilities_XC: np.ndarray, is_prunable_XC: np.ndarray, margin: float) -> None:
    """Put -inf, in place, for what is more than ``margin`` below the likeliest candidate of the same hypothesis."""
    lowest_X1 = log_probabilities_XC.max(axis=1, keepdims=True) - margin
    log_probabilities_XC[is_prunable_XC & (log_probabilities_XC < lowest_X1)] = -np.inf


def drop_far_below_best(finished: list[FinishedHypothesis], margin: float) -> None:
    """Remove, in place, the finished hypotheses that score more than ``margin`` below the best.

    ``finished``: highest score first.
    """
    while finished[-1].score < finished[0].score - margin:
        finished.pop()


def is_near_best(scores_X: np.ndarray, beam_X: np.ndarray, margin: float) -> np.ndarray:
    """Return which hypotheses, grouped by beam, are at most ``margin`` behind the best one of their beam."""
    if not len(beam_X):
        return np.zeros(0, dtype=bool)
    return scores_X >= best_of_group(scores_X, *group_starts(beam_X)) - margin
