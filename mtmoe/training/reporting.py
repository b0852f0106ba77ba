"""Reports of a training run: the library calls a reporter, the command line shows what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from mtmoe.checkpoint import StartRecord, TeacherRecord
from mtmoe.training.metrics.records import InterpolationMetrics, RunSummary, TrainingMetrics, ValidationMetrics


class Reporter(Protocol):
    """Receives events of a training run; none of its methods may change the run."""

    def started(self, summary: RunSummary) -> None:
        """Take in what is trained, once, before the first step."""

    def begun_from(self, start: StartRecord) -> None:
        """Take in, before :meth:`started`, with which weights of another run a new one begins."""

    def taught_by(self, teachers: Sequence[TeacherRecord]) -> None:
        """Take in, before :meth:`started`, which runs teach a new one."""

    def advanced(self, step: int) -> None:
        """Take in that a step is over; must be cheap."""

    def step(self, metrics: TrainingMetrics) -> None:
        """Take in a line of ``metrics.jsonl``, every ``log_every_steps``."""

    def validated(self, metrics: ValidationMetrics) -> None:
        """Take in what a validation measured."""

    def interpolated(self, metrics: InterpolationMetrics) -> None:
        """Take in, where training ends, which weights between those of step 0 and the trained ones are kept."""

    def saved(self, step: int, path: Path) -> None:
        """Take in that the checkpoint of a step is complete."""

    def warning(self, text: str) -> None:
        """Take in what a user should look at; training goes on."""

    def finished(self, reason: str) -> None:
        """Take in, once, why training ends: "max_steps", "early_stopping" or "signal"."""


class SilentReporter:
    """Reports nothing to nobody; a base for reporters that listen to some events."""

    def started(self, summary: RunSummary) -> None: ...

    def begun_from(self, start: StartRecord) -> None: ...

    def taught_by(self, teachers: Sequence[TeacherRecord]) -> None: ...

    def advanced(self, step: int) -> None: ...

    def step(self, metrics: TrainingMetrics) -> None: ...

    def validated(self, metrics: ValidationMetrics) -> None: ...

    def interpolated(self, metrics: InterpolationMetrics) -> None: ...

    def saved(self, step: int, path: Path) -> None: ...

    def warning(self, text: str) -> None: ...

    def finished(self, reason: str) -> None: ...


class SeveralReporters:
    """Passes every event on to several reporters, in their order."""

    def __init__(self, *reporters: Reporter) -> None:
        self.reporters = reporters

    def started(self, summary: RunSummary) -> None:
        for reporter in self.reporters:
            reporter.started(summary)

    def begun_from(self, start: StartRecord) -> None:
        for reporter in self.reporters:
            reporter.begun_from(start)

    def taught_by(self, teachers: Sequence[TeacherRecord]) -> None:
        for reporter in self.reporters:
            reporter.taught_by(teachers)

    def advanced(self, step: int) -> None:
        for reporter in self.reporters:
            reporter.advanced(step)

    def step(self, metrics: TrainingMetrics) -> None:
        for reporter in self.reporters:
            reporter.step(metrics)

    def validated(self, metrics: ValidationMetrics) -> None:
        for reporter in self.reporters:
            reporter.validated(metrics)

    def interpolated(self, metrics: InterpolationMetrics) -> None:
        for reporter in self.reporters:
            reporter.interpolated(metrics)

    def saved(self, step: int, path: Path) -> None:
        for reporter in self.reporters:
            reporter.saved(step, path)

    def warning(self, text: str) -> None:
        for reporter in self.reporters:
            reporter.warning(text)

    def finished(self, reason: str) -> None:
        for reporter in self.reporters:
            reporter.finished(reason)
