"""What the readers hand on: sentence pairs, and a note for each line that had to be left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

INVALID_UTF8 = "invalid UTF-8"
"""The ``problem`` of a line whose bytes are not text; the cleaning report counts it by itself."""
TOO_LONG = "too long to be read"
"""The ``problem`` of a line of more bytes than are ever read."""
SECOND_VARIANT = "a second variant of a language in one unit"
"""The ``problem`` of what a translation memory has beside the translation that is read."""


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


class BadLine(NamedTuple):
    """A line (row, unit) that was left out, counted from 1, and why."""

    file: str
    line: int
    problem: str


OnBadLine = Callable[[BadLine], None]


def ignore_bad_line(bad_line: BadLine) -> None:
    """Do nothing: for whoever does not want to know which lines were left out."""
