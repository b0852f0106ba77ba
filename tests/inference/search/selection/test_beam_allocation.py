"""How required text shares a beam, in cases small enough to be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mtmoe.inference.search.selection.beam_allocation import allocate_beam

NO = -np.inf


def _cells(cells):
    return list(zip(cells.rows.tolist(), cells.columns.tolist(), strict=True))


@pytest.mark.parametrize(
    ("width", "continuing"),
    [
        # One place a bank; a bank's best is in, however unlikely.
        (3, [(0, 1), (0, 2), (1, 2)]),
        # The fourth and fifth are the last bank's.
        (5, [(0, 1), (0, 2), (1, 2), (1, 3), (1, 4)]),
        # Three each would be 9 of 6 candidates: what the last bank cannot fill goes to the others.
        (6, [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (1, 4)]),
    ],
)
def test_the_cells_of_a_beam_are_shared_by_those_who_have_more_and_less_of_the_phrases(width, continuing):
    scores_XC = np.array([[NO, -1.0, -2.0, -2.5, NO], [NO, NO, -5.0, -6.0, -7.0]])
    bank_XC = np.array([[0, 0, 1, 0, 0], [0, 0, 2, 2, 2]])
    selection = allocate_beam(scores_XC, bank_XC, num_banks=3, width=width)
    assert _cells(selection.continuing) == continuing
    assert _cells(selection.finished) == []


def test_a_hypothesis_ends_if_fewer_than_the_share_of_its_bank_are_better():
    scores_XC = np.array([[-3.0, -1.0, -2.0], [-1.5, -5.0, -6.0]])
    bank_XC = np.full((2, 3), 1)
    assert _cells(allocate_beam(scores_XC, bank_XC, num_banks=2, width=2).finished) == []
    assert _cells(allocate_beam(scores_XC, bank_XC, num_banks=2, width=3).finished) == [(1, 0)]
