"""Best candidates: of each beam, the likeliest hypotheses.

A candidate is a cell of an [X, C] array of log-probabilities of whole hypotheses, -inf for what is not possible: column
0 ends the hypothesis, the others extend it by a word.

Letters: X active hypotheses, sorted by beam; C candidates of one; G beams that have any; W width of a beam.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mtmoe.inference.search.beam_groups import group_starts


class Cells(NamedTuple):
    """Chosen cells of an [X, C] array."""

    rows: np.ndarray
    columns: np.ndarray

    def take(self, is_taken: np.ndarray) -> Cells:
        """Return some of the cells."""
        return Cells(self.rows[is_taken], self.columns[is_taken])


class Selection(NamedTuple):
    """finished, continuing: cells of the candidates that end and that go on, sorted by beam, then best first."""

    finished: Cells
    continuing: Cells

    def of_rows(self, rows: np.ndarray) -> Selection:
        """Return a selection among some rows as one among all of them."""
        return Selection(*(Cells(rows[cells.rows], cells.columns) for cells in self))


def select_best(scores_XC: np.ndarray, beam_X: np.ndarray, width: int) -> Selection:
    """Select, of each beam, those of the ``width`` best candidates that end, and the ``width`` best others."""
    starts_G, group_X = group_starts(beam_X)
    rank_X = np.arange(len(beam_X)) - starts_G[group_X]
    num_columns = scores_XC.shape[1]
    scores_GWC = np.full((len(starts_G), width, num_columns), -np.inf)
    scores_GWC[group_X, rank_X] = scores_XC

    # At most `width` candidates end, so that twice as many are enough.
    flat = scores_GWC.reshape(len(starts_G), width * num_columns)
    order = np.argsort(-flat, axis=1, kind="stable")[:, : 2 * width]
    is_possible = np.take_along_axis(flat, order, axis=1) > -np.inf
    is_end = order % num_columns == 0
    is_finished = is_possible & is_end & (np.arange(order.shape[1]) < width)
    is_continuing = is_possible & ~is_end
    is_continuing &= is_continuing.cumsum(axis=1) <= width

    def cells(is_chosen: np.ndarray) -> Cells:
        groups = np.nonzero(is_chosen)[0]
        return Cells(starts_G[groups] + order[is_chosen] // num_columns, order[is_chosen] % num_columns)

    return Selection(cells(is_finished), cells(is_continuing))


def merged(parts: Sequence[Selection], beam_X: np.ndarray) -> Selection:
    """Return selections among different beams as one."""
    return Selection(*(_by_beam(_joined(cells), beam_X) for cells in zip(*parts, strict=True)))


def _joined(parts: Sequence[Cells]) -> Cells:
    return Cells(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _by_beam(cells: Cells, beam_X: np.ndarray) -> Cells:
    # In the order in which the beams stand, not of their numbers: what belongs together stays together.
    order = np.argsort(group_starts(beam_X)[1][cells.rows], kind="stable")
    return Cells(cells.rows[order], cells.columns[order])
