"""Sharded checkpoint: tensors of all processes in one directory, through torch.distributed.checkpoint.

Each process writes what it holds, and any number of processes reads what it needs.

The files are safetensors (DCP's own format is a pickle). The experts are DTensors, cut along their first dimension;
everything else is the same on every process and written once.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.futures import Future

from mtmoe.distributed.mesh import ONE_PROCESS, Mesh
from mtmoe.system.safetensors_files import save_tensors
from mtmoe.system.torch_internals import offsets_key, sharding_key

__all__ = ["CheckpointException", "load_shards", "save_shards", "whole_tensor"]


def save_shards(directory: Path, tensors: Mapping[str, Tensor], mesh: Mesh, sharded: Mapping[str, int]) -> None:
    """Write the tensors of all processes. All must call it.

    Args:
        sharded: the tensors of which each process has its share along the first dimension, and the whole size of that.

    Its collectives are those of ``mesh.writers``, so that a thread can write while training has its own.
    """
    state = {name: whole_tensor(tensor.detach(), mesh, sharded.get(name)) for name, tensor in tensors.items()}
    dcp.save(state, storage_writer=_ShardWriter(str(directory), save_distributed=True), process_group=mesh.writers)


class _ShardWriter(HuggingFaceStorageWriter):
    """Writes what its base class writes, but without a second copy in memory, and lets other threads run meanwhile:
    the base class makes one string of bytes of all tensors, and holds Python's lock for as long as that takes."""

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        tensors, places, results = {}, {}, []
        for item in plan.items:
            name, tensor = item.index.fqn, planner.resolve_data(item)
            assert isinstance(tensor, Tensor)
            assert item.tensor_data is not None
            tensors[name] = tensor.detach().cpu().contiguous()
            places[name] = {offsets_key(): list(item.tensor_data.chunk.offsets)}
            results.append(WriteResult(item.index, tensor.nbytes, storage_data=None))
        if tensors:
            file = Path(self.path) / f"shard-{plan.storage_data['shard_index']:05d}.safetensors"
            save_tensors(file, tensors, {"format": "pt", sharding_key(): json.dumps(places)})
        done: Future[Any] = Future()
        done.set_result(results)
        return done


def load_shards(directory: Path, mesh: Mesh = ONE_PROCESS, sharded: Collection[str] = frozenset()) -> dict[str, Tensor]:
    """Read what this process holds on ``mesh``, whatever mesh has written it. All must call it.

    Args:
        sharded: the tensors of which each process of the mesh has its share along the first dimension.
    """
    reader = HuggingFaceStorageReader(str(directory))
    state = {}
    for name, stored in reader.read_metadata().state_dict_metadata.items():
        assert isinstance(stored, TensorStorageMetadata)
        shape, dtype = list(stored.size), stored.properties.dtype
        if name in sharded:
            share = mesh.share_of_experts(shape[0])
            own = torch.empty(share.stop - share.start, *shape[1:], dtype=dtype)
            state[name] = whole_tensor(own, mesh, shape[0])
        else:
            state[name] = torch.empty(shape, dtype=dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # one process is what is meant
        dcp.load(state, storage_reader=reader, no_dist=mesh.size == 1)
    return {name: tensor.to_local() if isinstance(tensor, DTensor) else tensor for name, tensor in state.items()}


def whole_tensor(own: Tensor, mesh: Mesh, whole_size: int | None) -> Tensor:
    """Return this process's share as a DTensor of the whole, whose first dimension has ``whole_size``.

    Without a size (None), or where one process has all experts, it is ``own`` itself.
    """
    if mesh.expert_size == 1 or whole_size is None:
        return own
    devices = mesh.devices_of(own)
    shape = torch.Size([whole_size, *own.shape[1:]])
    stride = torch.empty(shape, device="meta").stride()
    return DTensor.from_local(own, devices, [Replicate(), Shard(0)], run_check=False, shape=shape, stride=stride)
