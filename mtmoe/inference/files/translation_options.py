"""Options, events and result of the translation of files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mtmoe.errors import UserError
from mtmoe.inference.files.journal import LineFaults
from mtmoe.inference.files.line_formats import LineFormat, TextFormat

if TYPE_CHECKING:
    from mtmoe.inference.constraints.terminology import Terminology
    from mtmoe.inference.requests import Member
    from mtmoe.inference.scoring.rescoring import RescoringRuns


class TranslationOptions(NamedTuple):
    """Which run translates, and how: the arguments of :class:`mtmoe.Translator`, and those of files."""

    run: str | Path
    format: LineFormat = TextFormat()
    """Of the lines of input and output; it says, too, how many translations of each line are wanted."""
    checkpoint: str = "best"
    overrides: tuple[str, ...] = ()
    devices: tuple[str | None, ...] = (None,)
    """One, or one for each worker in turn; None is cuda where there is one, else cpu."""
    num_workers: int = 1
    """Processes that translate; the result does not depend on it."""
    rescoring: RescoringRuns | None = None
    ensemble: tuple[Member, ...] = ()
    """Runs that translate together with ``run``."""
    terms: Terminology | None = None

    @property
    def num_best(self) -> int:
        """Return how many translations of each line are wanted."""
        return self.format.options.num_best or 1


class TranslationListener:
    """What is told while files are translated: override what is of interest, all methods do nothing."""

    def warning(self, text: str) -> None:
        """Hear of something that a person should look at, such as a line that was truncated."""

    def complete_already(self, output: Path) -> None:
        """Hear that an output is left as it is."""

    def resumed(self, output: Path, num_lines_done: int, num_lines: int) -> None:
        """Hear that an unfinished output is gone on with."""

    def stopped(self, output: Path, num_lines_done: int, num_lines: int) -> None:
        """Hear that an error or an interruption ends the work; the lines that are done are saved."""


NOBODY = TranslationListener()


class TranslatedLines(NamedTuple):
    """What was done: the number of lines, and what is wrong with some of them. Those that could not be read have an
    empty translation."""

    num_lines: int
    faults: LineFaults = LineFaults()

    def suspicious_lines(self) -> str:
        """Return one line about the suspicious translations (`text/suspicion.py`); empty if there are none."""
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in self.faults.suspicious)
        return f"suspicious translations among {self.num_lines:,} lines: {kinds}" if kinds else ""

    def raise_unreadable(self) -> None:
        """Raise an error if a line could not be read.

        Raises:
            UserError: with the number of such lines, and what was wrong with the first.
        """
        if self.faults.num_unreadable:
            number, first_problem, _ = self.faults
            raise UserError(
                f"{number:,} of {self.num_lines:,} lines could not be read (first: {first_problem})",
                fix="their translations are empty, all others are written",
            )
