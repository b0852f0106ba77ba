"""The processes of one training, and what they add up together: the only module that reads RANK.

Processes stand in a grid of [data, expert]. A row of it, the expert axis, has one copy of every expert between its
processes; a column, the data axis, has copies of the same experts. All other parameters are on every process. One
process without torchrun is a grid of one, in which every sum is what it was.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from mtmoe.config import Recipe
from mtmoe.errors import UserError

DATA, EXPERT = "data", "expert"
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # what torchrun tells its processes


@dataclass(frozen=True)
class Mesh:
    """This process's place among all. ``devices`` is None without a process group."""

    rank: int
    size: int
    expert_size: int
    devices: DeviceMesh | None

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes and talks."""
        return self.rank == 0

    @property
    def data_size(self) -> int:
        return self.size // self.expert_size

    @property
    def expert_rank(self) -> int:
        """Place on the expert axis: the share of the experts that this process holds."""
        return self.rank % self.expert_size

    @property
    def expert_group(self) -> dist.ProcessGroup:
        """The processes that have all experts between them."""
        assert self.devices is not None
        return self.devices.get_group(EXPERT)

    def add_up(self, tensor: Tensor) -> Tensor:
        """Sum over all processes, in place: the same bits on each."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def add_up_copies_of_experts(self, tensor: Tensor) -> Tensor:
        """Sum over the processes that hold the same experts, in place."""
        if self.data_size > 1:
            assert self.devices is not None
            dist.all_reduce(tensor, group=self.devices.get_group(DATA))
        return tensor

    def add_up_over_experts(self, tensor: Tensor) -> Tensor:
        """Sum over the processes that have all experts between them, in place."""
        if self.expert_size > 1:
            dist.all_reduce(tensor, group=self.expert_group)
        return tensor

    def largest(self, number: int) -> int:
        """Of the numbers that the processes give."""
        if self.size == 1:
            return number
        tensor = torch.tensor(number, device=self._device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return int(tensor)

    def value_of_main(self, value: float) -> float:
        """What the main process gives."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=self._device)
        dist.broadcast(tensor, 0)
        return float(tensor)

    @property
    def _device(self) -> str:
        assert self.devices is not None
        return self.devices.device_type

    def share_of_experts(self, num_experts: int) -> slice:
        """The experts that this process holds: contiguous, of equal numbers as far as they go (as DTensor cuts)."""
        return shares(num_experts, self.expert_size)[self.expert_rank]

    def wait_for_all(self) -> None:
        if self.size > 1:
            dist.barrier()


ONE_PROCESS = Mesh(0, 1, 1, None)


def shares(num_experts: int, expert_size: int) -> list[slice]:
    """The experts of each place on the expert axis; the last places may have fewer, or none."""
    most = -(-num_experts // expert_size)
    edges = [min(num_experts, most * place) for place in range(expert_size + 1)]
    return [slice(low, high) for low, high in pairwise(edges)]


def choose_expert_size(recipe: Recipe, num_processes: int) -> int:
    """The size of the expert axis: ``training.distributed.expert_processes``, or else the largest number of processes
    that divides both the number of processes and that of experts (of groups of experts, with two levels).

    Raises:
        UserError: the setting does not fit the number of processes or of experts.
    """
    levels = recipe.model.moe.hierarchy
    if not recipe.has_experts:
        return 1
    num_units = levels.groups if levels else recipe.model.moe.num_experts
    settings = recipe.training.distributed
    if settings is None:
        return math.gcd(num_processes, num_units)
    wanted = settings.expert_processes
    if num_processes % wanted:
        raise UserError(
            f"training.distributed.expert_processes = {wanted} does not divide the number of processes, which is "
            f"{num_processes}",
            fix=f"start a multiple of {wanted} processes with torchrun, or leave the setting out",
        )
    if levels and num_units % wanted:
        raise UserError(
            f"training.distributed.expert_processes = {wanted} does not divide model.moe.hierarchy.groups = {num_units}"
            ": a group of experts stays whole",
            fix="choose a divisor of the number of groups, or leave the setting out",
        )
    return wanted


def rank_and_size() -> tuple[int, int]:
    """The number of this process and of all, as torchrun tells them; without it (0, 1).

    Raises:
        UserError: torchrun's variables are incomplete.
    """
    if "RANK" not in os.environ:
        return 0, 1
    missing = [name for name in _VARIABLES if name not in os.environ]
    if missing:
        raise UserError(
            f"RANK is set, but {', '.join(missing)} are not: this process is one of several and cannot find the others",
            fix="start all of them with torchrun, or unset RANK",
        )
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


@contextlib.contextmanager
def joined_processes(recipe: Recipe, device: torch.device) -> Iterator[Mesh]:
    """The mesh of all processes that torchrun has started, for as long as the context lasts; otherwise that of one.

    gloo connects processes on CPUs, nccl those on GPUs.

    Raises:
        UserError: torchrun's variables are incomplete, or settings do not fit the number of processes.
    """
    rank, size = rank_and_size()
    if "RANK" not in os.environ:
        choose_expert_size(recipe, 1)
        yield ONE_PROCESS
        return
    expert_size = choose_expert_size(recipe, size)
    if recipe.model.moe.gate == "strictly-balanced" and recipe.has_experts and size > 1:
        raise UserError(
            f'model.moe.gate = "strictly-balanced" is for one process, but there are {size} (WORLD_SIZE): each expert '
            "takes the best tokens of the whole batch, and no process has the whole",
            fix='choose model.moe.gate = "noisy-top-k" or "softmax", or train with one process',
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        timeout=timedelta(minutes=30),
        device_id=device if device.type == "cuda" else None,
    )
    try:
        devices = init_device_mesh(device.type, (size // expert_size, expert_size), mesh_dim_names=(DATA, EXPERT))
        yield Mesh(rank, size, expert_size, devices)
    finally:
        # Without a word to the others: one that failed must not wait for those that wait for it.
        dist.destroy_process_group()


def device_of_process(device: torch.device) -> torch.device:
    """Each process of a machine has a GPU of its own: ``cuda`` is the one with the number LOCAL_RANK.

    Raises:
        UserError: one GPU is named for several processes, or there are too few.
    """
    local = os.environ.get("LOCAL_RANK")
    if local is None or device.type != "cuda":
        return device
    if device.index is not None and int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1:
        raise UserError(f"--device {device}: is one GPU for several processes", fix="give --device cuda")
    if device.index is None and int(local) >= torch.cuda.device_count():
        raise UserError(
            f"LOCAL_RANK = {local}, but this machine has {torch.cuda.device_count()} GPUs",
            fix="start one process a GPU: torchrun --nproc-per-node GPUS",
        )
    return device if device.index is not None else torch.device("cuda", int(local))
