"""A page about a run that is made anew while it is trained."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from mtmoe.errors import UserError
from mtmoe.report.page import report_page
from mtmoe.report.run_history import read_histories
from mtmoe.system.atomic_files import write_atomically
from mtmoe.training.metrics.records import RunSummary, TrainingMetrics, ValidationMetrics
from mtmoe.training.reporting import SilentReporter

LEAST_SECONDS = 10.0
"""Between two pages."""
MOST_SHARE = 0.01
"""Of the time of a training that its pages may take, but the first and the last one."""


class WatchedReport(SilentReporter):
    """A reporter that writes the page of the log alone: at first, with new lines of the log, and at the end.

    It is a context: when that is left, however the training ended, the page no longer loads itself anew. What goes
    wrong in writing is told once, and the training goes on.

    num_pages, seconds: pages that were made, and the time that this took in all.
    """

    def __init__(
        self,
        run: Path,
        output: Path,
        version: str,
        warn: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write nothing yet.

        Args:
            version: of mtmoe.
        """
        self.run, self.output, self.version = run, output, version
        self.num_pages, self.seconds = 0, 0.0
        self._warn, self._clock = warn, clock
        self._next_seconds = 0.0
        self._has_warned = self._has_started = False

    def __enter__(self) -> WatchedReport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._has_started:
            self._write(is_trained=False)

    def started(self, summary: RunSummary) -> None:
        """Write the first page."""
        self._has_started = True
        self._write(is_trained=True)

    def step(self, metrics: TrainingMetrics) -> None:
        """Write the page anew, if it is time."""
        self._write_if_due()

    def validated(self, metrics: ValidationMetrics) -> None:
        """Write the page anew, if it is time."""
        self._write_if_due()

    def _write_if_due(self) -> None:
        if self._clock() >= self._next_seconds:
            self._write(is_trained=True)

    def _write(self, *, is_trained: bool) -> None:
        began = self._clock()
        try:
            page = report_page(read_histories([self.run]), {}, self.version, is_trained=is_trained)
            write_atomically(self.output, page.encode())
        except (OSError, UserError) as error:
            if not self._has_warned:
                self._has_warned = True
                self._warn(f"{self.output}: the page could not be written: {error}")
        ended = self._clock()
        self.num_pages += 1
        self.seconds += ended - began
        self._next_seconds = ended + max(LEAST_SECONDS, (ended - began) / MOST_SHARE)
