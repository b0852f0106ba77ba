"""Mesh of the processes of one training, and what they add up together.

Processes stand in a grid of [data, expert]. A row of it, the expert axis, has one copy of every expert between its
processes; a column, the data axis, has copies of the same experts. All other parameters are on every process. One
process without torchrun is a grid of one, in which every sum is what it was.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from mtmoe.config import Recipe
from mtmoe.config.settings import Distributed
from mtmoe.distributed.collective_log import CollectiveLog
from mtmoe.distributed.launch import store_of_processes
from mtmoe.distributed.watchdog import Watchdog
from mtmoe.errors import UserError
from mtmoe.system.torch_internals import set_group_timeout
from mtmoe.system.torchrun import check_master_address, is_launched, local_rank, local_world_size, place_of_process

DATA, EXPERT = "data", "expert"
_PATIENCE = timedelta(days=1)  # of processes that wait for the slowest disk, or for the main one to validate
_TIME_TO_TELL_SECONDS = 5.0  # between the watchdog's report and the end of the collective that waits in vain


@dataclass(frozen=True)
class Mesh:
    """This process's place among all. ``devices`` is None without a process group.

    writers: all processes, for a thread of each that writes a checkpoint while training goes on. waiters: all, where
    the others wait for what takes the main process long. gradients: all, beside the backward pass. collective_log: the
    collectives of this process.
    """

    rank: int
    size: int
    expert_size: int
    devices: DeviceMesh | None
    writers: dist.ProcessGroup | None = None
    waiters: dist.ProcessGroup | None = None
    gradients: dist.ProcessGroup | None = None
    collective_log: CollectiveLog = field(default_factory=CollectiveLog)

    @property
    def is_main(self) -> bool:
        """Return whether this process is the one that writes and talks."""
        return self.rank == 0

    @property
    def data_size(self) -> int:
        return self.size // self.expert_size

    @property
    def expert_rank(self) -> int:
        """Return the place on the expert axis: the share of the experts that this process holds."""
        return self.rank % self.expert_size

    @property
    def data_group(self) -> dist.ProcessGroup:
        """Return the processes that hold the same experts."""
        assert self.devices is not None
        return self.devices.get_group(DATA)

    @property
    def gradient_group(self) -> dist.ProcessGroup:
        """Return all processes, for what is added up while they say other things to each other."""
        assert self.gradients is not None
        return self.gradients

    @property
    def expert_group(self) -> dist.ProcessGroup:
        """Return the processes that have all experts between them."""
        assert self.devices is not None
        return self.devices.get_group(EXPERT)

    def add_up(self, tensor: Tensor, what: str) -> Tensor:
        """Sum over all processes, in place: the same bits on each. what: it is, for who waits for it in vain."""
        if self.size > 1:
            with self.collective_log.collective(f"all_reduce of {what}") as due:
                if due:
                    dist.all_reduce(tensor)
        return tensor

    def add_up_over_experts(self, tensor: Tensor, what: str) -> Tensor:
        """Sum over the processes that have all experts between them, in place."""
        if self.expert_size > 1:
            with self.collective_log.collective(f"all_reduce of {what} over the experts"):
                dist.all_reduce(tensor, group=self.expert_group)
        return tensor

    def largest(self, number: int, what: str) -> int:
        """Return the largest of the numbers that the processes give."""
        if self.size == 1:
            return number
        tensor = torch.tensor(number, device=self.device_type)
        with self.collective_log.collective(f"all_reduce of {what}"):
            dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return int(tensor)

    def value_of_main(self, value: float, what: str) -> float:
        """Return what the main process gives, however long that takes it."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64)
        with self.collective_log.collective(f"broadcast of {what}"):
            dist.broadcast(tensor, 0, group=self.waiters)
        return float(tensor)

    def least_over_experts(self, number: int, what: str) -> int:
        """Return the least of the numbers that the processes of the expert axis give."""
        tensor = torch.tensor(number, device=self.device_type)
        with self.collective_log.collective(f"all_reduce of {what}"):
            dist.all_reduce(tensor, dist.ReduceOp.MIN, group=self.expert_group)
            return int(tensor)

    def gathered_by_main(self, value: Any, what: str) -> list[Any]:
        """Return what each process gives, however long that takes it, to the main process; to the others nothing."""
        if self.size == 1:
            return [value]
        found: list[Any] | None = [None] * self.size if self.is_main else None
        with self.collective_log.collective(f"gather of {what}"):
            dist.gather_object(value, found, 0, group=self.waiters)
        return found or []

    def agree_on_number(self) -> None:
        """Count the collectives from the same number again: rows of the grid may have had different ones."""
        now = self.collective_log.now
        self.collective_log.now = now._replace(number=int(self.value_of_main(now.number, "the number of collectives")))

    @property
    def device_type(self) -> str:
        """Return the type of the tensors that collectives take: "cpu" or "cuda"."""
        assert self.devices is not None
        return self.devices.device_type

    def share_of_experts(self, num_experts: int) -> slice:
        """Return the experts that this process holds: contiguous, of equal numbers as far as they go (as DTensor
        cuts)."""
        return shares(num_experts, self.expert_size)[self.expert_rank]

    def devices_of(self, tensor: Tensor) -> DeviceMesh:
        """Return the grid as one of the tensor's kind of device: what lies in main memory is never moved to a GPU."""
        assert self.devices is not None
        if tensor.device.type == self.devices.device_type:
            return self.devices
        groups = [self.devices.get_group(DATA), self.devices.get_group(EXPERT)]
        return DeviceMesh.from_group(
            groups, tensor.device.type, mesh=self.devices.mesh, mesh_dim_names=(DATA, EXPERT)
        )  # fmt: skip

    def main_alone(self, work: Callable[[], None]) -> None:
        """Let the main process do it, for the writers of all processes, which go on when it is done.

        Raises:
            OSError: on all of them, where it failed.
        """
        failure: OSError | None = None
        if self.is_main:
            try:
                work()
            except OSError as error:
                failure = error
        if self.size > 1:
            failed = torch.tensor(int(failure is not None))
            dist.broadcast(failed, 0, group=self.writers)
            if failed and failure is None:
                raise OSError("the main process could not; its own message says why")
        if failure is not None:
            raise failure

    def wait_for_all(self) -> None:
        if self.size > 1:
            with self.collective_log.collective("barrier at the start"):
                dist.barrier()


ONE_PROCESS = Mesh(0, 1, 1, None)


def shares(num_experts: int, expert_size: int) -> list[slice]:
    """Return the experts of each place on the expert axis; the last places may have fewer, or none."""
    most = -(-num_experts // expert_size)
    edges = [min(num_experts, most * place) for place in range(expert_size + 1)]
    return [slice(low, high) for low, high in pairwise(edges)]


def choose_expert_size(recipe: Recipe, num_processes: int) -> int:
    """Return the size of the expert axis: ``training.distributed.expert_processes``, or else the largest number of
    processes that divides both the number of processes and that of experts (of groups of experts, with two levels).

    Raises:
        UserError: the setting does not fit the number of processes or of experts.
    """
    levels = recipe.model.moe.hierarchy
    if not recipe.has_experts:
        return 1
    num_units = levels.groups if levels else recipe.model.moe.num_experts
    wanted = settings_of(recipe).expert_processes
    if wanted is None:
        return math.gcd(num_processes, num_units)
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


def settings_of(recipe: Recipe) -> Distributed:
    """Return ``[training.distributed]``, or its defaults where it is absent."""
    return recipe.training.distributed or Distributed()


def rank_and_size() -> tuple[int, int]:
    """Return the number of this process and of all, as torchrun tells them; without it (0, 1).

    Raises:
        UserError: torchrun's variables are incomplete or wrong.
    """
    place = place_of_process()
    check_master_address()
    return place.rank, place.size


@contextlib.contextmanager
def joined_processes(
    recipe: Recipe, device: torch.device, tell: Callable[[str], None] = lambda _: None
) -> Iterator[Mesh]:
    """Yield the mesh of all processes that torchrun has started, for as long as the context lasts; otherwise that of
    one.

    gloo connects processes on CPUs, nccl those on GPUs. ``tell`` is called with what a process has waited for in vain.

    Raises:
        UserError: torchrun's variables are incomplete or wrong, the port of the main process is taken, or settings do
            not fit the number of processes.
    """
    rank, size = rank_and_size()
    if not is_launched():
        choose_expert_size(recipe, 1)
        yield ONE_PROCESS
        return
    expert_size = choose_expert_size(recipe, size)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    timeout_seconds = settings_of(recipe).collective_timeout_seconds
    collective_log = CollectiveLog(rank)
    try:
        with collective_log.waiting("all processes to be connected"):
            store = _store(rank, timeout_seconds)
            timeout = timedelta(seconds=timeout_seconds + _TIME_TO_TELL_SECONDS)
            dist.init_process_group(
                "nccl" if device.type == "cuda" else "gloo",
                store=dist.PrefixStore("processes", store),
                rank=rank,
                world_size=size,
                timeout=timeout,
                device_id=device if device.type == "cuda" else None,
            )
            grid = (size // expert_size, expert_size)
            devices = init_device_mesh(device.type, grid, mesh_dim_names=(DATA, EXPERT))
            gradients = dist.new_group()
            for group in (gradients, devices.get_group(DATA), devices.get_group(EXPERT)):
                set_group_timeout(timeout, group)  # or they would have torch's own
            writers, waiters = _patient_group(timeout), _patient_group(timeout)
        with Watchdog(collective_log, rank, size, dist.PrefixStore("watchdog", store), timeout_seconds, tell):
            yield Mesh(rank, size, expert_size, devices, writers, waiters, gradients, collective_log)
    finally:
        # Without a word to the others: one that failed must not wait for those that wait for it.
        if dist.is_initialized():
            dist.destroy_process_group()


def _store(rank: int, timeout_seconds: float) -> dist.Store:
    try:
        return store_of_processes(rank, timeout_seconds)
    except (dist.DistNetworkError, OverflowError) as error:
        said = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"the processes cannot meet at MASTER_ADDR = {os.environ['MASTER_ADDR']}, "
            f"MASTER_PORT = {os.environ['MASTER_PORT']}: {said}",
            fix="take a port that is free and open: torchrun --master-port PORT or --rdzv-endpoint HOST:PORT",
        ) from None


def _patient_group(connection_timeout: timedelta) -> dist.ProcessGroup:
    """Return a group of all processes where one may wait long for another.

    It is gloo's, because that keeps no GPU from what goes on.
    """
    group: dist.ProcessGroup = dist.new_group(backend="gloo", timeout=connection_timeout)
    set_group_timeout(_PATIENCE, group)
    return group


def device_of_process(device: torch.device) -> torch.device:
    """Return this process's device: each process of a machine has a GPU of its own, and ``cuda`` is the one with the
    number LOCAL_RANK.

    Raises:
        UserError: one GPU is named for several processes, or there are too few.
    """
    if "LOCAL_RANK" not in os.environ or device.type != "cuda":
        return device
    local = local_rank()
    if device.index is not None and local_world_size() > 1:
        raise UserError(f"--device {device}: is one GPU for several processes", fix="give --device cuda")
    if device.index is None and local >= torch.cuda.device_count():
        raise UserError(
            f"LOCAL_RANK = {local}, but this machine has {torch.cuda.device_count()} GPUs",
            fix="start one process a GPU: torchrun --nproc-per-node GPUS",
        )
    return device if device.index is not None else torch.device("cuda", local)
