"""metrics.jsonl and, where it is installed, TensorBoard: the record of a run."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from mtmoe.checkpoint import RunFiles
from mtmoe.errors import UserError
from mtmoe.system.atomic_files import write_atomically
from mtmoe.system.json_files import JsonRecord, parse_json, read_bytes


class MetricsLog:
    """Appends one JSON object a line. After a resume, lines of steps that are done again are dropped."""

    def __init__(self, run: RunFiles, step: int, warn: Callable[[str], None]) -> None:
        """Go on with the run's metrics after ``step``.

        Args:
            warn: told of lines that are damaged; they are put aside, and training goes on.
        """
        self.path = run.metrics
        _drop_after(run, step, warn)
        self._board = _tensorboard(run, step)

    def write(self, event: str, metrics: Mapping[str, Any]) -> None:
        line = {"event": event, "time_seconds": round(time.time(), 3), **metrics}
        # JSON has no infinity.
        line = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._board is not None:
            for key, value in metrics.items():
                if isinstance(value, (int, float)) and key != "step":
                    self._board.add_scalar(f"{event}/{key}", value, metrics["step"])

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


class _Line(JsonRecord):
    """What every line has."""

    step: int


def _drop_after(run: RunFiles, step: int, warn: Callable[[str], None]) -> None:
    if not run.metrics.exists():
        return
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


def _tensorboard(run: RunFiles, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(run.tensorboard), purge_step=step + 1)
