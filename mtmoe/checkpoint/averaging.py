"""Checkpoint averaging: the mean of the weights of several checkpoints as a checkpoint of its own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mtmoe.checkpoint.reading import find_checkpoint, mean_weights
from mtmoe.checkpoint.run_files import WEIGHTS, Checkpoint, open_run
from mtmoe.checkpoint.run_state import CheckpointState
from mtmoe.checkpoint.writing import save_directory
from mtmoe.errors import UserError


def average_checkpoints(directory: Path, names: Iterable[str]) -> Checkpoint:
    """Write the mean of the named checkpoints' weights as a checkpoint of its own.

    Raises:
        UserError: fewer than two checkpoints.
    """
    run = open_run(directory)
    parts = sorted({find_checkpoint(run, name) for name in names}, key=lambda c: c.step)
    if len(parts) < 2:
        raise UserError(
            f"{directory}: an average needs at least 2 checkpoints, found {len(parts)}",
            fix="keep more of them: --set training.keep_last=5",
        )
    weights = mean_weights(parts)
    path = run.checkpoints / f"averaged-{len(parts)}-{parts[0].step:08d}-{parts[-1].step:08d}"
    state = CheckpointState(step=parts[-1].step, averaged=tuple(part.name for part in parts))
    save_directory(path, {WEIGHTS: weights}, state)
    return Checkpoint(path.name, parts[-1].step, path)
