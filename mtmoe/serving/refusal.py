"""Refusals: what a client is told when a request is not carried out. Each interface gives them its own form."""

from __future__ import annotations

from mtmoe.system.printable import printable

_LONGEST = 300


class Refusal(Exception):
    """A request that is not carried out: an HTTP status and one line for whoever sent it.

    retry_after_seconds: when it may be sent again; None if that does not help.
    """

    def __init__(self, status: int, message: str, *, retry_after_seconds: int | None = None) -> None:
        line = " ".join(printable(message).split())
        super().__init__(line)
        self.status = status
        self.message = line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
        self.retry_after_seconds = retry_after_seconds
