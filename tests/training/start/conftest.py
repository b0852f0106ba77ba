from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtmoe.checkpoint import StartRecord
from mtmoe.config import Recipe
from mtmoe.training.reporting import SilentReporter
from mtmoe.training.trainer import run_training

Train = Callable[..., "Told"]


class Told(SilentReporter):
    """What a training says."""

    def __init__(self) -> None:
        self.starts: list[StartRecord] = []
        self.losses: dict[int, float] = {}

    def begun_from(self, start: StartRecord) -> None:
        self.starts.append(start)

    def validated(self, metrics: Any) -> None:
        self.losses[metrics.step] = metrics.quality.loss


@pytest.fixture
def train(toy_data: Path) -> Train:
    """Train a recipe into a directory, and return what was told."""

    def trained(recipe: Recipe, run: Path, *, resume: bool = False) -> Told:
        told = Told()
        run_training(recipe, run, toy_data, resume=resume, reporter=told)
        return told

    return trained
