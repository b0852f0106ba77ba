"""Checkpoint reading: the checkpoints of a run by name, their state and their tensors."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mtmoe.checkpoint.run_files import (
    FORMAT_VERSION,
    STATE,
    TRAINING,
    TRAINING_SHARDS,
    WEIGHT_SHARDS,
    WEIGHTS,
    Checkpoint,
    RunFiles,
    is_step,
)
from mtmoe.checkpoint.run_state import CheckpointState, TrainingState
from mtmoe.distributed.mesh import ONE_PROCESS, Mesh
from mtmoe.errors import UserError
from mtmoe.system.json_files import read_json
from mtmoe.system.readable_files import check_readable, unreadable
from mtmoe.system.safetensors_files import utf8_name
from mtmoe.system.scarce_resources import is_lack_of_files, is_lack_of_memory

State = TypeVar("State", bound=CheckpointState)


def list_checkpoints(run: RunFiles) -> list[Checkpoint]:
    """Return the complete checkpoints, oldest first.

    Raises:
        UserError: the directory may not be read; the state of a checkpoint is damaged.
    """
    try:
        paths = list(run.checkpoints.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(run.checkpoints, error) from None
    found = [path for path in paths if not path.name.startswith(".") and (path / STATE).exists()]
    return sorted(
        (Checkpoint(path.name, load_state(path).step, path) for path in found), key=lambda c: (c.step, c.name)
    )


def list_steps(run: RunFiles) -> list[Checkpoint]:
    """Return the checkpoints that training has written, oldest first: no averages, and no copies of a user's."""
    return _steps(list_checkpoints(run))


def _steps(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    return [checkpoint for checkpoint in checkpoints if is_step(checkpoint.name)]


def load_state(path: Path) -> CheckpointState:
    """Read the state.json of a checkpoint, which any kind of checkpoint has."""
    return _state(path, CheckpointState)


def _state(path: Path, schema: type[State]) -> State:
    return read_json(
        path / STATE, schema, fix=f"remove {path} to use an older checkpoint", format_version=FORMAT_VERSION
    )


def last_checkpoint(run: RunFiles) -> Checkpoint | None:
    """Return the newest checkpoint that training can go on from, or None."""
    steps = list_steps(run)
    return steps[-1] if steps else None


def find_checkpoint(run: RunFiles, name: str) -> Checkpoint:
    """Return the checkpoint of a name: ``best`` of those kept, ``last``, a step number, or a directory's name.

    Raises:
        UserError: there is none; it names those that there are.
    """
    available = list_checkpoints(run)
    steps = _steps(available)
    if not available:
        raise UserError(f"{run.directory}: has no checkpoint yet", fix="wait for the first save of `mtmoe train`")
    if name == "last" and steps:
        return steps[-1]
    if name == "best" and steps:
        return next(iter(_best(steps)), steps[-1])
    for checkpoint in available:
        if name == checkpoint.name or (name == str(checkpoint.step) and is_step(checkpoint.name)):
            return checkpoint
    names = ", ".join(c.name for c in available)
    raise UserError(f"{run.directory}: no checkpoint {name!r}", fix=f"there are: best, last, {names}")


def find_checkpoints(run: RunFiles, name: str) -> list[Checkpoint]:
    """Return the checkpoints whose mean is meant, oldest first.

    ``last:N`` are the newest N, ``best:N`` the N best that are kept; any other name is the one checkpoint that
    :func:`find_checkpoint` finds.

    Raises:
        UserError: there are not so many, or N is no number above 0.
    """
    kind, colon, number = name.partition(":")
    if not colon or kind not in ("best", "last"):
        return [find_checkpoint(run, name)]
    if not number.isdecimal() or int(number) < 1:
        raise UserError(f"checkpoint {name!r}: {number!r} is no number of checkpoints", fix=f"for example {kind}:3")
    steps = list_steps(run)
    if kind == "best" and steps:
        steps = sorted(_best(steps)[: int(number)], key=lambda c: c.step)
    if len(steps) < int(number):
        raise UserError(
            f"{run.directory}: has {len(steps)} checkpoints for the mean of {name}",
            fix=f"ask for fewer, or train with more: --set training.keep_{kind}={number}",
        )
    return steps[-int(number) :]


def _best(steps: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Return those that have been measured, the best first: interpolated weights, then by the values of validations."""
    newest = load_state(steps[-1].path)
    chosen = [newest.step] if newest.trained_share is not None else []
    by_step = {c.step: c for c in steps}
    return [by_step[step] for step in dict.fromkeys([*chosen, *(step for step, _ in newest.best)]) if step in by_step]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        UserError: it may not be read, or is damaged.
    """
    check_readable(path)
    try:
        with utf8_name(path) as name:
            return load_file(name)
    except OSError as error:
        raise unreadable(path, error) from None
    except SafetensorError as error:
        raise UserError(f"{path}: damaged: {error}", fix=f"remove {path.parent} to use an older checkpoint") from None


def read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """Read the whole weights of a checkpoint, of one process or of several.

    Raises:
        UserError: a file is damaged, or the weights are not those that were saved.
    """
    if _is_sharded(checkpoint):
        return _read_shards(checkpoint / WEIGHT_SHARDS)
    return _verified(checkpoint / WEIGHTS, load_state(checkpoint).weights_digest)


def read_own_weights(checkpoint: Path, mesh: Mesh, sharded: Collection[str]) -> dict[str, Tensor]:
    """Read the weights of a checkpoint; of several processes each gets its part.

    Args:
        sharded: as of :func:`load_training`.

    Raises:
        UserError: as :func:`read_weights`.
    """
    if _is_sharded(checkpoint):
        return _read_shards(checkpoint / WEIGHT_SHARDS, mesh, sharded)
    return _own_part(read_weights(checkpoint), mesh, sharded)


def _verified(file: Path, expected: str | None) -> dict[str, Tensor]:
    tensors = read_tensors(file)
    found = weights_digest(tensors)
    if found != expected:
        raise UserError(
            f"{file}: damaged: its digest is {found}, {STATE} says {expected}",
            fix=f"remove {file.parent} to use an older checkpoint",
        )
    return tensors


def mean_weights(checkpoints: Sequence[Checkpoint]) -> dict[str, Tensor]:
    """Return the mean of the weights, summed in float64; of one checkpoint its weights as they are."""
    if len(checkpoints) == 1:
        return read_weights(checkpoints[0].path)
    total: dict[str, Tensor] = {}
    for checkpoint in checkpoints:
        for name, tensor in read_weights(checkpoint.path).items():
            total[name] = total[name] + tensor.double() if name in total else tensor.double()
    return {name: (tensor / len(checkpoints)).float() for name, tensor in total.items()}


def load_training(
    path: Path, mesh: Mesh = ONE_PROCESS, sharded: Collection[str] = frozenset()
) -> tuple[dict[str, Tensor], dict[str, Tensor], TrainingState]:
    """Read (model weights, training tensors, state) of a step checkpoint; of several processes each gets its part.

    Args:
        sharded: the names of the tensors of which each process has a share, along their first dimension.

    Raises:
        UserError: a file is damaged, or the tensors are not those that were saved; or they are weights alone, which
            ``mtmoe experts`` makes.
    """
    if not _is_sharded(path) and load_state(path).has_weights_alone:
        raise UserError(
            f"{path}: has weights alone, and nothing else that a training goes on from",
            fix=f"begin a new run with them: mtmoe train RECIPE NEW_RUN --from {shlex.quote(str(path.parents[1]))}",
        )
    state = _state(path, TrainingState)
    if _is_sharded(path):
        parts = (_read_shards(path / name, mesh, sharded) for name in (WEIGHT_SHARDS, TRAINING_SHARDS))
        return next(parts), next(parts), state
    weights = _verified(path / WEIGHTS, state.weights_digest)
    training = _verified(path / TRAINING, state.training_digest)
    return _own_part(weights, mesh, sharded), _own_part(training, mesh, sharded), state


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Return a hash of names and bytes: weights of the same digest are the same to the bit."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def stored_digest(checkpoint: Checkpoint) -> str:
    """Return the digest of its weights; a sharded checkpoint does not store it, and it is computed."""
    return load_state(checkpoint.path).weights_digest or weights_digest(read_weights(checkpoint.path))


def _is_sharded(path: Path) -> bool:
    return (path / WEIGHT_SHARDS).is_dir()


def _read_shards(
    directory: Path, mesh: Mesh = ONE_PROCESS, sharded: Collection[str] = frozenset()
) -> dict[str, Tensor]:
    from mtmoe.distributed.sharded_checkpoint import CheckpointException, load_shards

    try:
        return load_shards(directory, mesh, sharded)
    except PermissionError as error:
        raise unreadable(directory, error) from None
    except (SafetensorError, OSError, CheckpointException, ValueError, KeyError, AssertionError, RuntimeError) as error:
        if is_lack_of_memory(error) or is_lack_of_files(error):
            raise
        if mesh.size > 1 and not isinstance(error, (SafetensorError, OSError, CheckpointException)):
            raise  # what else goes wrong between processes is no damage
        raise UserError(
            f"{directory}: damaged: {error}", fix=f"remove {directory.parent} to use an older checkpoint"
        ) from None


def _own_part(tensors: Mapping[str, Tensor], mesh: Mesh, sharded: Collection[str]) -> dict[str, Tensor]:
    return {name: t[mesh.share_of_experts(t.shape[0])] if name in sharded else t for name, t in tensors.items()}
