"""Metrics log of a run: ``metrics.jsonl`` and, where it is installed, TensorBoard."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any

from mtmoe.checkpoint import RunFiles
from mtmoe.config import Recipe
from mtmoe.errors import UserError
from mtmoe.system.atomic_files import write_atomically
from mtmoe.system.json_files import JsonRecord, parse_json
from mtmoe.system.readable_files import read_bytes
from mtmoe.training.metrics.alarms import AlarmWatch
from mtmoe.training.metrics.records import AlarmMetrics, InterpolationMetrics, Line, TrainingMetrics, ValidationMetrics


class MetricsLog:
    """Append one JSON object a line. After a resume, lines of steps that are done again are dropped."""

    def __init__(self, run: RunFiles, recipe: Recipe, step: int, warn: Callable[[str], None]) -> None:
        """Go on with the run's metrics after ``step``: drop the lines of later steps.

        Args:
            recipe: of the run, for its alarms.
            warn: told of lines that are damaged; they are put aside, and training goes on.
        """
        self.path = run.metrics
        self._alarms = AlarmWatch(recipe, _drop_after(run, step, warn))
        self._board = _tensorboard(run, step)

    def write(self, metrics: TrainingMetrics | ValidationMetrics | InterpolationMetrics) -> list[AlarmMetrics]:
        """Append the line of a record, and its numbers to TensorBoard; append and return the alarms that it gives."""
        due = self._alarms.add(self._append(metrics))
        for alarm in due:
            self._append(alarm)
        return due

    def _append(self, metrics: TrainingMetrics | ValidationMetrics | InterpolationMetrics | AlarmMetrics) -> Line:
        """Append a line, and return it. What is not finite is null in JSON."""
        event, values = metrics.event, metrics.line()
        line = {"event": event, "time_seconds": round(time.time(), 3), **values}
        # JSON has no infinity.
        line = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._board is not None:
            for key, value in values.items():
                if isinstance(value, (int, float)) and key != "step":
                    self._board.add_scalar(f"{event}/{key}", value, metrics.step)
        return line

    def close(self) -> None:
        """Close TensorBoard's file."""
        if self._board is not None:
            self._board.close()


class _Line(JsonRecord):
    """The part of a line that every line has."""

    step: int


def _drop_after(run: RunFiles, step: int, warn: Callable[[str], None]) -> list[Line]:
    """Drop the lines of later steps from the file, and damaged ones; return those that stay."""
    if not run.metrics.exists():
        return []
    kept, damaged = [], []
    *lines, last = read_bytes(run.metrics).split(b"\n")
    for line in [*lines, last] if last else lines:
        try:
            if parse_json(line, run.metrics, _Line, fix="").step <= step:
                kept.append(line)
        except UserError:
            if line is not last:  # that one was cut off by a crash
                damaged.append(line)
    if damaged:
        aside = run.metrics.with_name(f"{run.metrics.name}.damaged")
        write_atomically(aside, b"".join(line + b"\n" for line in damaged))
        warn(f"{run.metrics}: {len(damaged)} lines are damaged; they were moved to {aside}")
    write_atomically(run.metrics, b"".join(line + b"\n" for line in kept))
    return [json.loads(line) for line in kept]


def _tensorboard(run: RunFiles, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(run.tensorboard), purge_step=step + 1)
