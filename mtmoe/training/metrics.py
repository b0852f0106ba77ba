"""metrics.jsonl and, where it is installed, TensorBoard: the record of a run."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import Any

from mtmoe.atomic_files import write_atomically
from mtmoe.checkpoint import RunFiles


class MetricsLog:
    """Appends one JSON object a line. After a resume, lines of steps that are done again are dropped."""

    def __init__(self, run: RunFiles, step: int) -> None:
        self.path = run.metrics
        _drop_after(run, step)
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


def _drop_after(run: RunFiles, step: int) -> None:
    if not run.metrics.exists():
        return
    kept = []
    for line in run.metrics.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError):
            continue  # the line that a crash cut off
    write_atomically(run.metrics, "".join(line + "\n" for line in kept).encode())


def _tensorboard(run: RunFiles, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(run.tensorboard), purge_step=step + 1)
