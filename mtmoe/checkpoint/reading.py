"""Checkpoints of a run: which there are, which one is meant, what is in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mtmoe.checkpoint.files import (
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
from mtmoe.distributed.expert_parallel import is_expert_parameter
from mtmoe.distributed.mesh import ONE_PROCESS, Mesh
from mtmoe.errors import UserError
from mtmoe.tensor_files import utf8_name


def list_checkpoints(run: RunFiles) -> list[Checkpoint]:
    """Complete checkpoints, oldest first."""
    found = []
    for path in run.checkpoints.glob("*"):
        if path.name.startswith(".") or not (path / STATE).is_file():
            continue
        found.append(Checkpoint(path.name, int(load_state(path)["step"]), path))
    return sorted(found, key=lambda c: (c.step, c.name))


def list_steps(run: RunFiles) -> list[Checkpoint]:
    """Those that training has written, oldest first: no averages, and no copies of a user's."""
    return _steps(list_checkpoints(run))


def _steps(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    return [checkpoint for checkpoint in checkpoints if is_step(checkpoint.name)]


def load_state(path: Path) -> dict[str, Any]:
    """The state.json of a checkpoint."""
    file = path / STATE
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: damaged: {error}", fix=f"remove {path} to use an older checkpoint") from None
    version = state.get("format_version")
    if version != FORMAT_VERSION:
        raise UserError(f"{file}: format version {version}, this mtmoe reads version {FORMAT_VERSION}")
    return state


def last_checkpoint(run: RunFiles) -> Checkpoint | None:
    """The newest checkpoint that training can go on from."""
    steps = list_steps(run)
    return steps[-1] if steps else None


def find_checkpoint(run: RunFiles, name: str) -> Checkpoint:
    """``best`` (of those kept, else last), ``last``, a step number, or a directory's name.

    Raises:
        UserError: naming what there is.
    """
    available = list_checkpoints(run)
    steps = _steps(available)
    if not available:
        raise UserError(f"{run.directory}: has no checkpoint yet", fix="wait for the first save of `mtmoe train`")
    if name == "last" and steps:
        return steps[-1]
    if name == "best" and steps:
        best = [entry[0] for entry in load_state(steps[-1].path).get("best", [])]
        by_step = {c.step: c for c in steps}
        return next((by_step[step] for step in best if step in by_step), steps[-1])
    for checkpoint in available:
        if name == checkpoint.name or (name == str(checkpoint.step) and is_step(checkpoint.name)):
            return checkpoint
    names = ", ".join(c.name for c in available)
    raise UserError(f"{run.directory}: no checkpoint {name!r}", fix=f"there are: best, last, {names}")


def find_checkpoints(run: RunFiles, name: str) -> list[Checkpoint]:
    """Those whose mean is meant, oldest first: of ``last:N`` the newest N, of ``best:N`` the N best that are kept; of
    any other name the one that :func:`find_checkpoint` finds.

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
        by_step = {c.step: c for c in steps}
        kept = [entry[0] for entry in load_state(steps[-1].path).get("best", []) if entry[0] in by_step]
        steps = [by_step[step] for step in sorted(kept[: int(number)])]
    if len(steps) < int(number):
        raise UserError(
            f"{run.directory}: has {len(steps)} checkpoints for the mean of {name}",
            fix=f"ask for fewer, or train with more: --set training.keep_{kind}={number}",
        )
    return steps[-int(number) :]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; a damaged one is a UserError."""
    try:
        with utf8_name(path) as name:
            return load_file(name)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: damaged: {error}", fix=f"remove {path.parent} to use an older checkpoint") from None


def read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The whole weights of a checkpoint, whatever has written it."""
    return _read_shards(checkpoint / WEIGHT_SHARDS) if _is_sharded(checkpoint) else read_tensors(checkpoint / WEIGHTS)


def mean_weights(checkpoints: Sequence[Checkpoint]) -> dict[str, Tensor]:
    """The mean of the weights, summed in float64; of one checkpoint its weights as they are."""
    if len(checkpoints) == 1:
        return read_weights(checkpoints[0].path)
    total: dict[str, Tensor] = {}
    for checkpoint in checkpoints:
        for name, tensor in read_weights(checkpoint.path).items():
            total[name] = total[name] + tensor.double() if name in total else tensor.double()
    return {name: (tensor / len(checkpoints)).float() for name, tensor in total.items()}


def load_training(path: Path, mesh: Mesh = ONE_PROCESS) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """(model weights, training tensors, state) of a step checkpoint; of several processes each gets its part.

    Raises:
        UserError: a file is damaged, or the weights are not those that were saved.
    """
    state = load_state(path)
    if _is_sharded(path):
        return _read_shards(path / WEIGHT_SHARDS, mesh), _read_shards(path / TRAINING_SHARDS, mesh), state
    weights = read_tensors(path / WEIGHTS)
    found = weights_digest(weights)
    if found != state["weights_digest"]:
        raise UserError(
            f"{path / WEIGHTS}: damaged: its digest is {found}, {STATE} says {state['weights_digest']}",
            fix=f"remove {path} to use an older checkpoint",
        )
    return _own_part(weights, mesh), _own_part(read_tensors(path / TRAINING), mesh), state


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """A hash of names and bytes: two runs with the same digest have the same weights to the bit."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def stored_digest(checkpoint: Checkpoint) -> str:
    """The digest of its weights; of a sharded checkpoint, which does not store it, it is computed."""
    stored = load_state(checkpoint.path).get("weights_digest")
    return str(stored) if stored else weights_digest(read_weights(checkpoint.path))


def _is_sharded(path: Path) -> bool:
    return (path / WEIGHT_SHARDS).is_dir()


def _read_shards(directory: Path, mesh: Mesh = ONE_PROCESS) -> dict[str, Tensor]:
    from mtmoe.distributed.shards import CheckpointException, load_shards

    try:
        return load_shards(directory, mesh)
    except (SafetensorError, OSError, CheckpointException) as error:
        raise UserError(
            f"{directory}: damaged: {error}", fix=f"remove {directory.parent} to use an older checkpoint"
        ) from None


def _own_part(tensors: Mapping[str, Tensor], mesh: Mesh) -> dict[str, Tensor]:
    return {
        name: t[mesh.share_of_experts(t.shape[0])] if is_expert_parameter(name) else t for name, t in tensors.items()
    }
