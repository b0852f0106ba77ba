"""Diverse beams: groups of hypotheses that are kept apart (diverse beam search, Vijayakumar et al. 2018).

Letters: X active hypotheses, sorted by beam; C candidates of one.
"""

from __future__ import annotations

import numpy as np

from mtmoe.inference.search.selection.best_candidates import Selection, merged, select_best


def select_diverse(
    scores_XC: np.ndarray, words_XC: np.ndarray, beam_X: np.ndarray, width: int, num_groups: int, penalty: float
) -> Selection:
    """Select group after group: a word costs ``penalty`` for each time that an earlier group has chosen it.

    Beam q is group q % num_groups of sentence q // num_groups. The penalty decides what is chosen at this step, and is
    in no score.
    """
    sentence_X, group_X = beam_X // num_groups, beam_X % num_groups
    num_chosen: dict[tuple[int, int], int] = {}
    parts = []
    for group in range(num_groups):
        rows = np.flatnonzero(group_X == group)
        scores = scores_XC[rows]
        for row, column in zip(*np.nonzero(scores[:, 1:] > -np.inf), strict=True):
            times = num_chosen.get((sentence_X[rows[row]], words_XC[rows[row], column + 1]), 0)
            scores[row, column + 1] -= penalty * times
        selection = select_best(scores, beam_X[rows], width).of_rows(rows)
        for row, column in zip(*selection.continuing, strict=True):
            cell = (sentence_X[row], words_XC[row, column])
            num_chosen[cell] = num_chosen.get(cell, 0) + 1
        parts.append(selection)
    return merged(parts, beam_X)
