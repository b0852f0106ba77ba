"""Which candidates go on, in cases small enough to be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mtmoe.inference.search.selection.beam_allocation import allocate_beam
from mtmoe.inference.search.selection.best_candidates import (
    Cells,
    Selection,
    merged,
    select_best,
)
from mtmoe.inference.search.selection.pruning import is_near_best

NO = -np.inf


def _cells(cells):
    return list(zip(cells.rows.tolist(), cells.columns.tolist(), strict=True))


def test_each_beam_chooses_among_its_own_candidates_best_first():
    scores_XC = np.array([[-1.0, -2.0, -3.0], [-2.5, -0.5, NO], [-9.0, -8.0, -7.0]])
    selection = select_best(scores_XC, np.array([4, 4, 7]), width=2)
    assert _cells(selection.finished) == [(0, 0)]  # of beam 7, EOS is third of three
    assert _cells(selection.continuing) == [(1, 1), (0, 1), (2, 2), (2, 1)]


def test_hypotheses_far_behind_the_best_of_their_own_beam_are_not_near_it():
    scores_X = np.array([-3.0, -1.0, -2.0, -9.0, -9.5])
    assert is_near_best(scores_X, np.array([5, 5, 5, 2, 2]), 1.0).tolist() == [False, True, True, True, True]
    assert is_near_best(scores_X, np.array([5, 5, 5, 2, 2]), 0.4).tolist() == [False, True, False, True, False]
    assert is_near_best(scores_X[:0], np.array([], dtype=int), 1.0).tolist() == []


def test_merged_choices_come_in_the_order_in_which_the_beams_stand():
    def cells(*rows):
        return Cells(np.array(rows, dtype=int), np.arange(len(rows)))

    parts = [Selection(cells(4, 0), cells(1, 0, 4)), Selection(cells(3), cells(2, 3))]
    selection = merged(parts, np.array([7, 7, 9, 9, 1]))  # of sources that entered in this order
    assert selection.finished.rows.tolist() == [0, 3, 4]
    assert selection.continuing.rows.tolist() == [1, 0, 2, 3, 4]


@pytest.mark.parametrize(
    ("width", "going_on"),
    [
        # One place a bank; a bank's best is in, however unlikely.
        (3, [(0, 1), (0, 2), (1, 2)]),
        # The fourth and fifth are the last bank's.
        (5, [(0, 1), (0, 2), (1, 2), (1, 3), (1, 4)]),
        # Three each would be 9 of 6 candidates: what the last bank cannot fill goes to the others.
        (6, [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (1, 4)]),
    ],
)
def test_the_cells_of_a_beam_are_shared_by_those_who_have_more_and_less_of_the_phrases(width, going_on):
    scores_XC = np.array([[NO, -1.0, -2.0, -2.5, NO], [NO, NO, -5.0, -6.0, -7.0]])
    bank_XC = np.array([[0, 0, 1, 0, 0], [0, 0, 2, 2, 2]])
    selection = allocate_beam(scores_XC, bank_XC, num_banks=3, width=width)
    assert _cells(selection.continuing) == going_on
    assert _cells(selection.finished) == []


def test_a_hypothesis_ends_if_fewer_than_the_share_of_its_bank_are_better():
    scores_XC = np.array([[-3.0, -1.0, -2.0], [-1.5, -5.0, -6.0]])
    bank_XC = np.full((2, 3), 1)
    assert _cells(allocate_beam(scores_XC, bank_XC, num_banks=2, width=2).finished) == []
    assert _cells(allocate_beam(scores_XC, bank_XC, num_banks=2, width=3).finished) == [(1, 0)]
