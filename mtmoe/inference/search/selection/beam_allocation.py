"""Beam allocation: how required text shares a beam (dynamic beam allocation, Post and Vilar 2018).

Hypotheses that have more of the required text are mostly less likely, so those with as much of it compete among
themselves only, in a bank.

Letters: X active hypotheses, sorted by beam; C candidates of one.
"""

from __future__ import annotations

import numpy as np

from mtmoe.inference.search.active_hypotheses import ActiveHypotheses
from mtmoe.inference.search.search_constraints import SearchConstraints
from mtmoe.inference.search.selection.best_candidates import Cells, Selection, merged, select_best


def select_with_banks(
    scores_XC: np.ndarray, words_XC: np.ndarray, active: ActiveHypotheses, constraints: SearchConstraints, width: int
) -> Selection:
    """Select the best candidates of beams without required text, and those of each bank of the other beams."""
    source_X = active.beam_X // constraints.num_beams
    requires_X = constraints.requires_text_B[source_X]
    if not requires_X.any():
        return select_best(scores_XC, active.beam_X, width)
    parts = []
    free = np.flatnonzero(~requires_X)
    if len(free):
        parts.append(select_best(scores_XC[free], active.beam_X[free], width).of_rows(free))
    for beam in np.unique(active.beam_X[requires_X]):
        rows = np.flatnonzero(active.beam_X == beam)
        source = constraints[int(beam) // constraints.num_beams]
        total = source.num_missing(())
        num_banks = min(total + 1, width)
        bank_XC = np.full((len(rows), scores_XC.shape[1]), num_banks - 1)
        for place, row in enumerate(rows):
            for column in np.flatnonzero(scores_XC[row, 1:] > -np.inf) + 1:
                missing = source.num_missing((*active.ids_X[row], int(words_XC[row, column])))
                bank_XC[place, column] = max(0, total - missing) * num_banks // (total + 1)
        parts.append(allocate_beam(scores_XC[rows], bank_XC, num_banks, width).of_rows(rows))
    return merged(parts, active.beam_X)


def allocate_beam(scores_XC: np.ndarray, bank_XC: np.ndarray, num_banks: int, width: int) -> Selection:
    """Select the candidates of one beam, bank by bank.

    The places of the beam are shared evenly by the banks, the last of which, where all is done, has the rest; what a
    bank cannot fill goes to the best of the others, those from further banks first.

    Args:
        bank_XC: of each candidate, 0 to ``num_banks`` - 1.
    """
    rows, columns = np.nonzero(scores_XC > -np.inf)
    order = np.argsort(-scores_XC[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    bank = bank_XC[rows, columns]
    share = np.full(num_banks, width // num_banks)
    share[-1] += width % num_banks
    finished, continuing, left_over = [], [], []
    for number in reversed(range(num_banks)):
        taken = 0
        for candidate in np.flatnonzero(bank == number):
            if columns[candidate] == 0:
                if taken < share[number]:
                    finished.append(candidate)
            elif taken < share[number]:
                continuing.append(candidate)
                taken += 1
            else:
                left_over.append(candidate)
    continuing += left_over[: width - len(continuing)]
    finished, continuing = sorted(finished), sorted(continuing)
    return Selection(Cells(rows[finished], columns[finished]), Cells(rows[continuing], columns[continuing]))
