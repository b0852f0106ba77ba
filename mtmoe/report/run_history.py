"""The history of a run: its recipe, what its log measured, and what is known of its text."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mtmoe.checkpoint import RunFiles, load_run_recipe, open_run
from mtmoe.checkpoint.run_data import run_data
from mtmoe.checkpoint.run_files import load_manifest
from mtmoe.checkpoint.run_state import RunManifest
from mtmoe.config import Recipe
from mtmoe.data.prepared.data_directory import Prepared, open_prepared
from mtmoe.errors import UserError
from mtmoe.model.description import ModelDescription, describe_recipe
from mtmoe.system.readable_files import read_bytes

_MOST_GAP_SECONDS = 900.0
"""Between two lines of a log; a longer one was a pause, and is no training."""

_MOST_TIME = 1e11  # seconds since 1970: the year 5138; what is larger is no time

Line = Mapping[str, Any]


@dataclass(frozen=True)
class RunHistory:
    """One run. label: what the report calls it, a name that no other run there has; train, validation, alarms: lines
    of its log, by their event."""

    label: str
    files: RunFiles
    recipe: Recipe
    manifest: RunManifest
    train: Sequence[Line]
    validation: Sequence[Line]
    alarms: Sequence[Line]
    num_damaged_lines: int

    @cached_property
    def prepared(self) -> Prepared | None:
        """Its text; None where that is gone."""
        try:
            return open_prepared(run_data(self.files.directory))
        except UserError:
            return None

    @cached_property
    def description(self) -> ModelDescription:
        """Layers, parameters and operations of its network."""
        return describe_recipe(self.recipe)

    @property
    def layers(self) -> list[str]:
        """Its expert layers, in the order of the network."""
        suffix = ".load_cv"
        return [key.removesuffix(suffix) for key in (self.train[-1] if self.train else {}) if key.endswith(suffix)]

    @property
    def seconds(self) -> float:
        """Time from the first to the last line of the log, without pauses."""
        lines = (*self.train, *self.validation)
        times: list[float] = sorted(t for line in lines if isinstance(t := line.get("time_seconds"), (int, float)))
        gaps = (after - before for before, after in itertools.pairwise(times))
        return sum(gap for gap in gaps if gap < _MOST_GAP_SECONDS)

    @property
    def last_time(self) -> float | None:
        """When the last line of the log was written, in seconds since 1970; None where there is none."""
        times = (line.get("time_seconds") for line in (*self.train[-1:], *self.validation[-1:]))
        return max((float(t) for t in times if isinstance(t, (int, float)) and 0 <= t < _MOST_TIME), default=None)

    def series(self, key: str, *, validation: bool = False) -> list[tuple[float, float]]:
        """Return (step, value) of every line of the log that has the key as a number."""
        lines = self.validation if validation else self.train
        return [(float(line["step"]), float(line[key])) for line in lines if isinstance(line.get(key), (int, float))]


def read_histories(runs: Sequence[Path]) -> list[RunHistory]:
    """Read runs; where several have the same directory name, their labels are their paths.

    Raises:
        UserError: one is no run, or a file of it cannot be read.
    """
    names = [run.resolve().name for run in runs]
    labels = names if len(set(names)) == len(names) else [str(run) for run in runs]
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise UserError(f"{twice}: is named twice", fix="name each run once")
    return [_read_history(run, label) for run, label in zip(runs, labels, strict=True)]


def _read_history(run: Path, label: str) -> RunHistory:
    files = open_run(run)
    content = read_bytes(files.metrics) if files.metrics.exists() else b""
    events: dict[str, list[Line]] = {"train": [], "validation": [], "alarm": []}
    num_damaged = 0
    for text in content.splitlines():
        line = _parsed(text)
        if line is None:
            num_damaged += 1
        elif line["event"] in events:
            events[line["event"]].append(line)
    return RunHistory(
        label,
        files,
        load_run_recipe(files),
        load_manifest(files),
        events["train"],
        events["validation"],
        [line for line in events["alarm"] if isinstance(line.get("text"), str)],
        num_damaged,
    )


def _parsed(text: bytes) -> Line | None:
    """Return a line of the log; None if it is damaged."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_line = isinstance(line, dict) and isinstance(line.get("event"), str) and isinstance(line.get("step"), int)
    return line if is_line else None
