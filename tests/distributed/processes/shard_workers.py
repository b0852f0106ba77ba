"""Processes that save a training, and others that go on with it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from mtmoe.checkpoint import OptimizerState, RunFiles, TrainingState, last_checkpoint, load_training
from mtmoe.config import Recipe
from mtmoe.config.settings import Training
from mtmoe.data.batches.token_batches import Batch
from mtmoe.distributed.mesh import joined_processes
from mtmoe.training.metrics.expert_usage import ExpertUsage
from mtmoe.training.metrics.metrics_window import MetricsWindow
from mtmoe.training.saving import HostCopies, Saver, Snapshot
from mtmoe.training.step import Stepper
from tests.distributed.processes.workers import CPU, VOCABULARY, batches, doubles, whole

State = dict[str, np.ndarray]
STEPS_BEFORE, STEPS_AFTER = 4, 6


class SlowCopies(HostCopies):
    """Takes longer than a step."""

    def place(self, *tensor):
        time.sleep(0.02)
        return super().place(*tensor)


def _state(step: int, optimizer: OptimizerState) -> TrainingState:
    return TrainingState(
        step=step,
        position=(0, 0),
        metric="loss",
        validations_without_progress=0,
        steps_not_finite=0,
        num_skipped_steps=0,
        num_out_of_memory_steps=0,
        window=MetricsWindow(Training(max_steps=1)).state(),
        optimizer=optimizer,
    )


def save_and_go_on(recipe: Recipe, run: Path) -> tuple[State, State]:
    """What was saved after the first steps, beside the others, and what became of it after those."""
    with joined_processes(recipe, CPU) as mesh, doubles(True):
        stepper = Stepper(recipe, VOCABULARY, CPU, mesh)
        saver = Saver(RunFiles(run), recipe, mesh, SlowCopies())
        stepper.before_update = saver.wait_until_copied
        groups = batches(STEPS_BEFORE + STEPS_AFTER)
        _steps(stepper, islice(groups, STEPS_BEFORE))
        saved = _everything(stepper)
        weights, training, plain = stepper.tensors()
        saver.begin(Snapshot(weights, training, _state(stepper.step, plain), [], stepper.sharded_tensors()))
        _steps(stepper, groups)
        saver.finish()
        return saved, _everything(stepper)


def load_and_go_on(recipe: Recipe, run: Path) -> tuple[State, State]:
    """What was loaded, and what became of it."""
    with joined_processes(recipe, CPU) as mesh, doubles(True):
        stepper = Stepper(recipe, VOCABULARY, CPU, mesh)
        last = last_checkpoint(RunFiles(run))
        assert last is not None
        weights, training, state = load_training(last.path, mesh, stepper.sharded_tensors())
        stepper.load(weights, training, state.step, state.optimizer, last.path)
        loaded = _everything(stepper)
        _steps(stepper, islice(batches(STEPS_BEFORE + STEPS_AFTER), STEPS_BEFORE, None))
        return loaded, _everything(stepper)


def _steps(stepper: Stepper, groups: Iterator[list[Batch]]) -> None:
    for group in groups:
        assert stepper(group, ExpertUsage()).applied


def _everything(stepper: Stepper) -> State:
    weights, training, _ = stepper.tensors()
    state = {f"training:{name}": tensor for name, tensor in whole(stepper, training).items()}
    return whole(stepper, weights) | state
