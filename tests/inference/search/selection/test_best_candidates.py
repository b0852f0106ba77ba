"""Which candidates go on, in cases small enough to be worked out by hand."""

from __future__ import annotations

import numpy as np

from mtmoe.inference.search.selection.best_candidates import (
    Cells,
    Selection,
    merged,
    select_best,
)

NO = -np.inf


def _cells(cells):
    return list(zip(cells.rows.tolist(), cells.columns.tolist(), strict=True))


def test_each_beam_chooses_among_its_own_candidates_best_first():
    scores_XC = np.array([[-1.0, -2.0, -3.0], [-2.5, -0.5, NO], [-9.0, -8.0, -7.0]])
    selection = select_best(scores_XC, np.array([4, 4, 7]), width=2)
    assert _cells(selection.finished) == [(0, 0)]  # of beam 7, EOS is third of three
    assert _cells(selection.continuing) == [(1, 1), (0, 1), (2, 2), (2, 1)]


def test_merged_choices_come_in_the_order_in_which_the_beams_stand():
    def cells(*rows):
        return Cells(np.array(rows, dtype=int), np.arange(len(rows)))

    parts = [Selection(cells(4, 0), cells(1, 0, 4)), Selection(cells(3), cells(2, 3))]
    selection = merged(parts, np.array([7, 7, 9, 9, 1]))  # of sources that entered in this order
    assert selection.finished.rows.tolist() == [0, 3, 4]
    assert selection.continuing.rows.tolist() == [1, 0, 2, 3, 4]
