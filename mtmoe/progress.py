"""Progress callbacks: how the library tells its caller how far it is; it never prints."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called from time to time; ``done == total`` ends a stage."""

    def __call__(self, stage: str, done: int, total: int | None, unit: str) -> None:
        """Hear that ``done`` of ``total`` are done; None where nobody knows how many there are.

        ``stage`` is a short word ("download"), ``unit`` what is counted ("bytes", "pairs").
        """


def silent(stage: str, done: int, total: int | None, unit: str) -> None:
    """Tell nobody: the progress of whoever does not want to know."""
