"""Checkpoints written atomically, whole or in shards, and those removed that are not wanted any more."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from mtmoe.checkpoint.files import (
    DOOMED,
    FORMAT_VERSION,
    STATE,
    STEP,
    TRAINING,
    TRAINING_SHARDS,
    UNFINISHED,
    WEIGHT_SHARDS,
    WEIGHTS,
    Checkpoint,
    RunFiles,
    sync,
)
from mtmoe.checkpoint.reading import list_checkpoints, weights_digest
from mtmoe.distributed.mesh import Mesh
from mtmoe.errors import UserError
from mtmoe.tensor_files import usual_access


def save_checkpoint(
    run: RunFiles,
    step: int,
    weights: Mapping[str, Tensor],
    training: Mapping[str, Tensor],
    state: Mapping[str, Any],
) -> Checkpoint:
    """Write atomically; an existing checkpoint of the same step is left as it is, for it is the same."""
    path = run.checkpoints / f"{STEP}{step:08d}"
    if not path.exists():
        save_directory(path, {WEIGHTS: weights, TRAINING: training}, {"step": step, **state})
    return Checkpoint(path.name, step, path)


def save_sharded_checkpoint(
    run: RunFiles,
    step: int,
    weights: Mapping[str, Tensor],
    training: Mapping[str, Tensor],
    state: Mapping[str, Any],
    mesh: Mesh,
    num_experts: int,
) -> Checkpoint:
    """The same from all processes of the mesh, which must call it together; each writes its own part.

    Its collectives are those of ``mesh.writers``: a thread may call it.
    """
    # Here and not above: torch.distributed.checkpoint takes most of a second to import, which translating need not.
    from mtmoe.distributed.shards import CheckpointException, save_shards

    path = run.checkpoints / f"{STEP}{step:08d}"
    unfinished = path.parent / f"{UNFINISHED}{path.name}"

    def begin() -> None:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)

    def finish() -> None:
        content = {"format_version": FORMAT_VERSION, "step": step, **state}
        (unfinished / STATE).write_text(json.dumps(content, indent=1), encoding="utf-8")
        for file in (unfinished / STATE, unfinished / WEIGHT_SHARDS, unfinished / TRAINING_SHARDS, unfinished):
            sync(file)
        if path.exists():
            _remove(path)
        os.replace(unfinished, path)
        sync(path.parent)

    try:
        mesh.main_alone(begin)
        for name, tensors in ((WEIGHT_SHARDS, weights), (TRAINING_SHARDS, training)):
            save_shards(unfinished / name, tensors, mesh, num_experts)
        mesh.main_alone(finish)
    except (CheckpointException, OSError) as error:  # on all processes when one of them fails
        raise _not_written(path, error) from None
    return Checkpoint(path.name, step, path)


def _not_written(path: Path, error: BaseException) -> UserError:
    return UserError(
        f"{path}: could not be written: {error}", fix="make room on the disk; the checkpoint before it is intact"
    )


def save_directory(path: Path, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> None:
    unfinished = path.parent / f"{UNFINISHED}{path.name}"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        _write_files(unfinished, tensors, state)
    except (OSError, SafetensorError) as error:  # safetensors has an exception of its own for a full disk
        shutil.rmtree(unfinished, ignore_errors=True)
        raise _not_written(path, error) from None
    if path.exists():  # an average that is made anew
        _remove(path)
    os.replace(unfinished, path)
    sync(path.parent)


def _write_files(directory: Path, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> None:
    directory.mkdir(parents=True)
    for name, group in tensors.items():
        with usual_access(directory / name):
            save_file({key: tensor.detach().cpu().contiguous() for key, tensor in group.items()}, directory / name)
    content = {"format_version": FORMAT_VERSION, "weights_digest": weights_digest(tensors[WEIGHTS]), **state}
    (directory / STATE).write_text(json.dumps(content, indent=1), encoding="utf-8")
    for file in directory.iterdir():
        sync(file)
    sync(directory)


def remove_unfinished(checkpoints: Path) -> None:
    """Remove what a killed save left behind; for the process that holds the run's lock."""
    for prefix in (UNFINISHED, DOOMED):
        for leftover in checkpoints.glob(f"{prefix}*"):
            shutil.rmtree(leftover)


def retain(run: RunFiles, keep_last: int, best_steps: Sequence[int]) -> None:
    """Remove step checkpoints that are neither among the newest nor among the best."""
    steps = [c for c in list_checkpoints(run) if c.name.startswith(STEP)]
    wanted = {c.step for c in steps[-keep_last:]} | set(best_steps)
    for checkpoint in steps:
        if checkpoint.step not in wanted:
            _remove(checkpoint.path)


def _remove(checkpoint: Path) -> None:
    """Renamed first: a removal that is cut short must not leave half a checkpoint under its name."""
    doomed = checkpoint.with_name(f"{DOOMED}{checkpoint.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    os.replace(checkpoint, doomed)
    shutil.rmtree(doomed)
