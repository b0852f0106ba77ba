"""Resume: what ``mtmoe train --resume`` reads of a run, and what it must agree with.

It reads, in this order:

- ``.launch``: whether the torchrun job that restarts this process trains the run, which is then resumed unasked;
- ``recipe.toml``: what was trained, against which :func:`check_resume` holds the recipe of the command;
- the vocabulary, which must be the one of the data;
- the newest checkpoint, by :func:`read_last_checkpoint`: weights, moments, the state of LSTMs on running text, and in
  ``state.json`` the step, the data position, the best validations, the sums of the metrics window, fp16's loss scale;
- ``metrics.jsonl``, from which the lines after that step are dropped (``metrics/metrics_log.py``).

Without a checkpoint yet, training begins at step 0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from mtmoe.checkpoint import (
    Checkpoint,
    RunFiles,
    TrainingState,
    belongs_to_launch,
    last_checkpoint,
    load_training,
    remove_unfinished,
)
from mtmoe.config import Recipe
from mtmoe.config.settings import Start
from mtmoe.data.prepared.preparation import Prepared
from mtmoe.distributed.launch import launch_name
from mtmoe.distributed.mesh import ONE_PROCESS, Mesh
from mtmoe.errors import UserError


class ResumePoint(NamedTuple):
    """What training goes on from: tensors by name, of several processes those of this one."""

    checkpoint: Checkpoint
    weights: dict[str, Tensor]
    training: dict[str, Tensor]
    state: TrainingState


def must_resume(run_dir: Path) -> bool:
    """Return whether torchrun has started this process in place of one that trained the run."""
    return belongs_to_launch(run_dir, launch_name())


def read_last_checkpoint(
    run: RunFiles, mesh: Mesh = ONE_PROCESS, sharded: Collection[str] = frozenset()
) -> ResumePoint | None:
    """Return the newest checkpoint, or None where the run has none yet; remove what killed saves left behind.

    Args:
        sharded: the names of the tensors of which each process has a share.

    Raises:
        UserError: it is damaged.
    """
    if mesh.is_main:
        remove_unfinished(run.checkpoints)
    last = last_checkpoint(run)
    return None if last is None else ResumePoint(last, *load_training(last.path, mesh, sharded))


def check_resume(run: RunFiles, saved: Recipe, recipe: Recipe, prepared: Prepared, warn: Callable[[str], None]) -> None:
    """Check that a run can go on with a recipe and data.

    Args:
        saved: the recipe of the run.
        warn: told of settings of training, decoding and scoring that change.

    Raises:
        UserError: task, seed, data, vocabulary, model, or the rows of running text are not those of the run.
    """
    for table in ("task", "seed", "data", "subwords", "model"):
        for key, before, now in _differences(saved.model_dump()[table], recipe.model_dump()[table], table):
            raise UserError(
                f"{run.directory}: was trained with {key} = {before}, the recipe says {now}",
                fix="resume with the recipe of the run, or start a new run",
            )
    if run.subwords.read_bytes() != prepared.subwords_path.read_bytes():
        raise UserError(
            f"{run.subwords} differs from {prepared.subwords_path}: the data was prepared anew with another vocabulary",
            fix="resume with the data directory that the run began with",
        )
    for key, before, now in _differences(
        _dumped(saved.training.start), _dumped(recipe.training.start), "training.start"
    ):
        raise UserError(
            f"{run.directory}: was begun with {key} = {before}, the recipe says {now}",
            fix="resume with the start that the run began with, or begin a new run",
        )
    for key in ("batch_tokens", "bptt_steps", "bptt_spread_tokens") if saved.training.bptt_steps else ():
        before, now = getattr(saved.training, key), getattr(recipe.training, key)
        if before != now:
            raise UserError(
                f"{run.directory}: was trained with training.{key} = {before}, the recipe says {now}, but the state of "
                "each row of running text goes on with it",
                fix=f"resume with --set training.{key}={before}, or start a new run",
            )
    for table in ("training", "decoding", "scoring"):
        for key, before, now in _differences(saved.model_dump()[table], recipe.model_dump()[table], table):
            warn(f"resuming with {key} = {now} (was {before})")


def _dumped(settings: Start | None) -> dict[str, Any]:
    return settings.model_dump() if settings is not None else {}


def _differences(before: Any, now: Any, key: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield the keys whose values differ, with both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before.keys() | now.keys()):
            yield from _differences(before.get(name), now.get(name), f"{key}.{name}")
    elif before != now:
        yield key, before, now
