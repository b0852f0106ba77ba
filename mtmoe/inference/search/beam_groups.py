"""Rows grouped by their beam or source, which stand side by side. Letters: X rows, G groups."""

from __future__ import annotations

import numpy as np


def group_starts(beam_X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each run of equal numbers begins [G], and the run of each element [X]."""
    is_start_X = np.empty(len(beam_X), dtype=bool)
    is_start_X[:1] = True
    np.not_equal(beam_X[1:], beam_X[:-1], out=is_start_X[1:])
    return np.flatnonzero(is_start_X), is_start_X.cumsum() - 1


def best_of_group(scores_X: np.ndarray, starts_G: np.ndarray, group_X: np.ndarray) -> np.ndarray:
    """Return, for each row, the highest score of its group."""
    best_X: np.ndarray = np.maximum.reduceat(scores_X, starts_G)[group_X]
    return best_X
