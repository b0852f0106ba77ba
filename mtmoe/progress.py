"""How the library tells the command line how far it is: it calls, it never prints."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called from time to time; ``done == total`` ends a stage."""

    def __call__(self, stage: str, done: int, total: int | None, unit: str) -> None:
        """``stage`` is a short word ("download"), ``unit`` what is counted ("bytes", "pairs")."""


def silent(stage: str, done: int, total: int | None, unit: str) -> None:
    """The progress of whoever does not want to know."""
