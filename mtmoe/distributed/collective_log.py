"""Collective log: the collectives of this process, one after another, in the same order on every process.

Two things rest on that order. A process that waits too long can tell who has not come as far (``watchdog.py``). And
one that ran out of memory in the middle of a batch can go through the rest of the batch's collectives with no rows of
its own, so that nobody waits for it for ever (:meth:`CollectiveLog.without_rows`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import torch

from mtmoe.errors import UserError

T = TypeVar("T")


class Activity(NamedTuple):
    """What a process is doing. number: collectives begun so far, the same on all processes that have come as far.

    waits: for other processes. since: of ``time.monotonic``. is_long: it may take the main process long.
    """

    number: int
    step: int
    what: str
    waits: bool
    since: float
    is_long: bool = False

    @property
    def seconds(self) -> float:
        """Return how long the process has been at it."""
        return time.monotonic() - self.since


class CollectiveLog:
    """The collectives of this process. ``report``: what the watchdog has found out, or ""."""

    def __init__(self, rank: int = 0) -> None:
        self.rank = rank
        self.report = ""
        self.now = Activity(0, 0, "starting", False, time.monotonic())
        self._place = 0  # collectives of the batch so far
        self._num_done = 0  # of them, those that the other processes have had from this one
        self._remembered: list[object] = []
        self._replayed: Iterator[object] | None = None

    @contextlib.contextmanager
    def collective(self, what: str) -> Iterator[bool]:
        """Enter around one collective, which is not to be called if this yields False: the others have had it already.

        Raises:
            UserError: another process has gone, or not come in time.
        """
        self._place += 1
        if self._place <= self._num_done:
            yield False
            return
        self._is(what, waits=True, begun=1)
        try:
            with self.failing_as(what):
                yield True
        except torch.OutOfMemoryError:
            self._is(f"after lack of memory in {what}", begun=-1)
            raise
        self._num_done = self._place
        self._is(f"after {what}")

    @contextlib.contextmanager
    def failing_as(self, what: str) -> Iterator[None]:
        """Enter around the start of a collective at a moment that differs between processes; :meth:`collective` waits
        for it.

        Raises:
            UserError: in place of the library's error.
        """
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise self._lost(what, error) from error

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Enter around waiting for what has been begun before."""
        self._is(what, waits=True)
        with self.failing_as(what):
            yield
        self._is(f"after {what}")

    def at(self, step: int, what: str, *, is_long: bool = False) -> None:
        """Set what this process is doing by itself."""
        self.now = Activity(self.now.number, step, what, False, time.monotonic(), is_long)

    # ------------------------------------------------------------------------------------- lack of memory

    def begin_batch(self) -> None:
        """Begin another batch, to which the collectives that follow belong."""
        self._place = self._num_done = 0
        self._remembered, self._replayed = [], None

    @property
    def has_no_rows(self) -> bool:
        """Return whether this process goes through a batch for the others' sake alone."""
        return self._replayed is not None

    @contextlib.contextmanager
    def without_rows(self) -> Iterator[None]:
        """Go through the batch again: the collectives that the others have had from this process are left out."""
        self._place, self._replayed = 0, iter(list(self._remembered))
        try:
            yield
        finally:
            self._replayed = None

    def remembered(self, make: Callable[[], T]) -> T:
        """Return what ``make`` returns, to which the others will hold this process; in :meth:`without_rows` what it has
        returned before."""
        if self._replayed is not None:
            before = next(self._replayed, None)
            if before is not None:
                return before  # type: ignore[return-value]
        result = make()
        self._remembered.append(result)
        return result

    def _is(self, what: str, *, waits: bool = False, begun: int = 0) -> None:
        self.now = Activity(self.now.number + begun, self.now.step, what, waits, time.monotonic())

    def _lost(self, what: str, error: RuntimeError) -> UserError:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return UserError(
            f"process {self.rank}, step {self.now.step}: {what} failed: {first_line}"
            + (f"\n{self.report}" if self.report else ""),
            fix="look at what the process that failed first says; to go on from the last checkpoint, add --resume "
            "(torchrun --max-restarts N does so by itself)",
        )
