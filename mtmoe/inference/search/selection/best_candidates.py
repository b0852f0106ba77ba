"""Which candidates of a step end, and which live on.

A candidate is a cell of an [X, C] array of log-probabilities of whole hypotheses, -inf for what is not possible: column
0 ends the hypothesis, the others extend it by a word.

Letters: X live hypotheses, sorted by beam; C ways to extend one; A beams that have live hypotheses; W width of a beam.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mtmoe.inference.search.finished_hypotheses import group_starts


class Places(NamedTuple):
    """Chosen cells of an [X, C] array."""

    rows: np.ndarray
    columns: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Places]) -> Places:
        return cls(np.concatenate([part.rows for part in parts]), np.concatenate([part.columns for part in parts]))

    def take(self, is_taken: np.ndarray) -> Places:
        return Places(self.rows[is_taken], self.columns[is_taken])


class Choice(NamedTuple):
    """ending, going_on: sorted by beam, then best first."""

    ending: Places
    going_on: Places


def choose(scores_XC: np.ndarray, beam_X: np.ndarray, width: int) -> Choice:
    """Of each beam, those of the ``width`` best candidates that end, and the ``width`` best others."""
    starts_A, group_X = group_starts(beam_X)
    rank_X = np.arange(len(beam_X)) - starts_A[group_X]
    num_columns = scores_XC.shape[1]
    scores_AWC = np.full((len(starts_A), width, num_columns), -np.inf)
    scores_AWC[group_X, rank_X] = scores_XC

    # At most `width` candidates end, so that twice as many are enough.
    flat = scores_AWC.reshape(len(starts_A), width * num_columns)
    order = np.argsort(-flat, axis=1, kind="stable")[:, : 2 * width]
    is_possible = np.take_along_axis(flat, order, axis=1) > -np.inf
    is_end = order % num_columns == 0
    is_ending = is_possible & is_end & (np.arange(order.shape[1]) < width)
    is_going_on = is_possible & ~is_end
    is_going_on &= is_going_on.cumsum(axis=1) <= width

    def places(is_chosen: np.ndarray) -> Places:
        groups = np.nonzero(is_chosen)[0]
        return Places(starts_A[groups] + order[is_chosen] // num_columns, order[is_chosen] % num_columns)

    return Choice(places(is_ending), places(is_going_on))


def is_near_best(scores_X: np.ndarray, beam_X: np.ndarray, margin: float) -> np.ndarray:
    """Which of the hypotheses, grouped by beam, are at most ``margin`` behind the best one of their beam (relative
    threshold pruning, Freitag and Al-Onaizan 2017)."""
    if not len(beam_X):
        return np.zeros(0, dtype=bool)
    starts_A, group_X = group_starts(beam_X)
    found: np.ndarray = scores_X >= np.maximum.reduceat(scores_X, starts_A)[group_X] - margin
    return found


def choose_diverse(
    scores_XC: np.ndarray, words_XC: np.ndarray, beam_X: np.ndarray, width: int, num_groups: int, penalty: float
) -> Choice:
    """Group after group: a word costs ``penalty`` for each time that an earlier group of the sentence has chosen it.

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
        ending, going_on = (Places(rows[places.rows], places.columns) for places in choose(scores, beam_X[rows], width))
        for row, column in zip(*going_on, strict=True):
            cell = (sentence_X[row], words_XC[row, column])
            num_chosen[cell] = num_chosen.get(cell, 0) + 1
        parts.append(Choice(ending, going_on))
    return Choice(*(_by_beam(Places.joined(places), beam_X) for places in zip(*parts, strict=True)))


def choose_by_progress(scores_XC: np.ndarray, bank_XC: np.ndarray, num_banks: int, width: int) -> Choice:
    """Of one beam that has phrases to bring in (dynamic beam allocation, Post and Vilar 2018).

    Hypotheses that have more of the phrases are mostly less likely, so those with as much of them compete among
    themselves only, in a bank. The places of the beam are shared evenly by the banks, the last of which, where all is
    done, has the rest; what a bank cannot fill goes to the best of the others, those from further banks first.

    Args:
        bank_XC: of each candidate, 0 to ``num_banks`` - 1.
    """
    rows, columns = np.nonzero(scores_XC > -np.inf)
    order = np.argsort(-scores_XC[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    bank = bank_XC[rows, columns]
    share = np.full(num_banks, width // num_banks)
    share[-1] += width % num_banks
    ending, going_on, left_over = [], [], []
    for number in reversed(range(num_banks)):
        taken = 0
        for candidate in np.flatnonzero(bank == number):
            if columns[candidate] == 0:
                if taken < share[number]:
                    ending.append(candidate)
            elif taken < share[number]:
                going_on.append(candidate)
                taken += 1
            else:
                left_over.append(candidate)
    going_on += left_over[: width - len(going_on)]
    ending, going_on = sorted(ending), sorted(going_on)
    return Choice(Places(rows[ending], columns[ending]), Places(rows[going_on], columns[going_on]))


def merged(parts: Sequence[Choice], beam_X: np.ndarray) -> Choice:
    """Choices of different beams as one."""
    return Choice(*(_by_beam(Places.joined(places), beam_X) for places in zip(*parts, strict=True)))


def _by_beam(places: Places, beam_X: np.ndarray) -> Places:
    # In the order in which the beams stand, not of their numbers: what belongs together stays together.
    order = np.argsort(group_starts(beam_X)[1][places.rows], kind="stable")
    return Places(places.rows[order], places.columns[order])
