"""Comparison of runs: what differs between them, and on which lines their translations do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mtmoe.evaluation.sentence_quality import sentence_chrf
from mtmoe.report.page import overview, settings_table
from mtmoe.report.run_history import RunHistory
from mtmoe.report.tables import Table


class LineDifference(NamedTuple):
    """A line of a test set that two systems translate with different success. number: of the line, from 1; chrf: chrF2
    of both, 0 to 100."""

    number: int
    reference: str
    translations: tuple[str, str]
    chrf: tuple[float, float]

    @property
    def gain(self) -> float:
        """Return by how much the second is better."""
        return self.chrf[1] - self.chrf[0]


def differences_of_runs(histories: Sequence[RunHistory]) -> Table:
    """Return all facts and settings in which runs differ."""
    rows = [row for table in (overview(histories), settings_table(histories)) for row in table.rows]
    differing = [row for row in rows if len(set(row[1:])) > 1]
    return Table("What differs", ["", *(history.label for history in histories)], differing)


def differences_of_lines(
    references: Sequence[str], first: Sequence[str], second: Sequence[str], most: int
) -> list[LineDifference]:
    """Return the lines that differ most in chrF2, the largest gains of the second system first.

    Half of them, rounded up, are gains and half are losses, if there are so many.
    """
    chrf = sentence_chrf()
    found = [
        LineDifference(number, reference, (one, other), (chrf(one, reference), chrf(other, reference)))
        for number, (reference, one, other) in enumerate(zip(references, first, second, strict=True), start=1)
        if one != other
    ]
    gains = sorted((line for line in found if line.gain > 0), key=lambda line: (-line.gain, line.number))
    losses = sorted((line for line in found if line.gain < 0), key=lambda line: (line.gain, line.number))
    num_gains = max((most + 1) // 2, most - len(losses))
    chosen = gains[:num_gains]
    return [*chosen, *reversed(losses[: most - len(chosen)])]
