"""Checkpoint writing: atomic, whole or in shards; and retention, the removal of checkpoints no longer wanted."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from mtmoe.checkpoint.reading import list_steps, weights_digest
from mtmoe.checkpoint.run_files import (
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
    is_average,
    is_step,
)
from mtmoe.checkpoint.run_state import CheckpointState
from mtmoe.distributed.mesh import Mesh
from mtmoe.errors import UserError
from mtmoe.system.atomic_directory import put_directory_in_place, remove_directory
from mtmoe.system.atomic_files import make_directory, sync, write_atomically
from mtmoe.system.locks import Lock, ask_for_lock
from mtmoe.system.safetensors_files import save_tensors

_DIGESTS = {WEIGHTS: "weights_digest", TRAINING: "training_digest"}


def save_checkpoint(
    run: RunFiles,
    weights: Mapping[str, Tensor],
    training: Mapping[str, Tensor],
    state: CheckpointState,
) -> Checkpoint:
    """Write a checkpoint atomically; one of the same step is left as it is, for it is the same.

    Args:
        weights: by the parameters' names, for inference.
        training: what else training goes on from, by name.
        state: without the digests, which are computed here.

    Raises:
        UserError: it cannot be written.
    """
    path = run.checkpoints / f"{STEP}{state.step:08d}"
    if not path.exists():
        save_directory(path, {WEIGHTS: weights, TRAINING: training}, state)
    return Checkpoint(path.name, state.step, path)


def save_weights_alone(run: RunFiles, weights: Mapping[str, Tensor], state: CheckpointState) -> Checkpoint:
    """Write a checkpoint to translate with, from which no training goes on.

    Args:
        state: without the digest, which is computed here.

    Raises:
        UserError: it cannot be written.
    """
    path = run.checkpoints / f"{STEP}{state.step:08d}"
    save_directory(path, {WEIGHTS: weights}, state)
    return Checkpoint(path.name, state.step, path)


def save_sharded_checkpoint(
    run: RunFiles,
    weights: Mapping[str, Tensor],
    training: Mapping[str, Tensor],
    state: CheckpointState,
    mesh: Mesh,
    sharded: Mapping[str, int],
) -> Checkpoint:
    """Write a checkpoint as :func:`save_checkpoint` does, each process its own part; all must call it together.

    Its collectives are those of ``mesh.writers``: a thread may call it.
    """
    # Here and not above: torch.distributed.checkpoint takes most of a second to import, which translating need not.
    from mtmoe.distributed.sharded_checkpoint import CheckpointException, save_shards

    path = run.checkpoints / f"{STEP}{state.step:08d}"
    unfinished = path.parent / f"{UNFINISHED}{path.name}"

    def begin() -> None:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)

    def finish() -> None:
        _write_state(unfinished, state)
        for file in (unfinished / WEIGHT_SHARDS, unfinished / TRAINING_SHARDS, unfinished):
            sync(file)
        if path.exists():
            _remove(path)
        put_directory_in_place(unfinished, path)

    try:
        mesh.main_alone(begin)
        for name, tensors in ((WEIGHT_SHARDS, weights), (TRAINING_SHARDS, training)):
            save_shards(unfinished / name, tensors, mesh, sharded)
        mesh.main_alone(finish)
    except (CheckpointException, OSError) as error:  # on all processes when one of them fails
        raise _not_written(path, error) from None
    return Checkpoint(path.name, state.step, path)


def _not_written(path: Path, error: BaseException) -> UserError:
    reason = getattr(error, "strerror", None) or str(error)
    may_not = getattr(error, "errno", None) in (errno.EACCES, errno.EPERM)
    what_helps = "change the permissions of its directory" if may_not else "make room on the disk"
    return UserError(f"{path}: could not be written: {reason}", fix=f"{what_helps}; the checkpoint before it is intact")


def save_directory(path: Path, tensors: Mapping[str, Mapping[str, Tensor]], state: CheckpointState) -> None:
    """Write a checkpoint atomically in place of one of that name.

    Raises:
        UserError: it cannot be written, or another process is writing it.
    """
    unfinished = path.parent / f"{UNFINISHED}{path.name}"
    try:
        with _begun(unfinished):
            try:
                _write_files(unfinished, tensors, state)
                if path.exists():  # an average that is made anew
                    _remove(path)
                put_directory_in_place(unfinished, path)
            except BaseException:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
    except OSError as error:
        raise _not_written(path, error) from None


@contextlib.contextmanager
def _begun(unfinished: Path) -> Iterator[None]:
    """Make a directory that is locked while it is being written, so that nobody takes it for a leftover."""
    if not _is_cleared(unfinished):
        raise UserError(f"{unfinished}: another process is writing it", fix="wait for it, then run the command again")
    make_directory(unfinished)
    lock = os.open(unfinished, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        ask_for_lock(lock)
        yield
    finally:
        os.close(lock)


def _write_files(directory: Path, tensors: Mapping[str, Mapping[str, Tensor]], state: CheckpointState) -> None:
    for name, group in tensors.items():
        save_tensors(directory / name, group)
    digests = {_DIGESTS[name]: weights_digest(group) for name, group in tensors.items()}
    _write_state(directory, state.model_copy(update=digests))
    sync(directory)


def _write_state(directory: Path, state: CheckpointState) -> None:
    content = {"format_version": FORMAT_VERSION, **state.model_dump(by_alias=True)}
    write_atomically(directory / STATE, json.dumps(content, indent=1).encode())


def remove_unfinished(checkpoints: Path) -> None:
    """Remove what killed saves left behind, known by its name. For the process that holds the run's lock."""
    for leftover in checkpoints.iterdir():
        for prefix in (UNFINISHED, DOOMED):
            name = leftover.name.removeprefix(prefix)
            is_ours = name != leftover.name and (is_step(name) or is_average(name))
            if is_ours and leftover.is_dir() and not leftover.is_symlink():
                _is_cleared(leftover)


def _is_cleared(leftover: Path) -> bool:
    """Remove the directory, if there is one; return False if a process is at work in it.

    Raises:
        OSError: it is a link or a file, and so none of ours, or cannot be removed.
    """
    try:
        lock = os.open(leftover, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        if ask_for_lock(lock) is Lock.OF_ANOTHER:
            return False
        shutil.rmtree(leftover)
        return True
    finally:
        os.close(lock)


def retain(run: RunFiles, keep_last: int, best_steps: Sequence[int]) -> None:
    """Remove step checkpoints that are neither among the newest nor among the best."""
    steps = list_steps(run)
    wanted = {c.step for c in steps[-keep_last:]} | set(best_steps)
    for checkpoint in steps:
        if checkpoint.step not in wanted:
            _remove(checkpoint.path)


def _remove(checkpoint: Path) -> None:
    """Remove a checkpoint, renamed first: a removal cut short must not leave half of one under its name."""
    if checkpoint.is_symlink():  # to another disk, say: what it points to was put there by the user
        checkpoint.unlink()
        return
    doomed = checkpoint.with_name(f"{DOOMED}{checkpoint.name}")
    remove_directory(checkpoint, doomed)
