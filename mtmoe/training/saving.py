"""Asynchronous checkpointing: checkpoints are written while training goes on.

A thread copies the tensors, which takes a moment, and writes the copies, which takes long. The tensors change only
where the optimizer updates them: so the forward and backward pass of the next step run beside the copying, and
training waits before the update alone (:meth:`Saver.wait_until_copied`), if the copying has not ended by then.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from mtmoe.checkpoint import Checkpoint, RunFiles, TrainingState, retain, save_checkpoint, save_sharded_checkpoint
from mtmoe.config import Recipe
from mtmoe.distributed.mesh import ONE_PROCESS, Mesh
from mtmoe.errors import UserError

_LAST_WAIT_SECONDS = 10.0  # for a write when training has failed: less than the grace of schedulers


class Snapshot(NamedTuple):
    """What a checkpoint is made of. best_steps: checkpoints that are kept besides the newest.
    sharded: as of :meth:`Stepper.sharded_tensors`."""

    weights: Mapping[str, Tensor]
    training: Mapping[str, Tensor]
    state: TrainingState
    best_steps: Sequence[int]
    sharded: Mapping[str, int] = MappingProxyType({})


class Saver:
    """Writes one checkpoint after another, each in a thread; every process of the mesh has one.

    blocked_seconds: how long training has waited for it in all.
    """

    def __init__(
        self, run: RunFiles, recipe: Recipe, mesh: Mesh = ONE_PROCESS, copies: HostCopies | None = None
    ) -> None:
        """Write nothing yet. ``copies`` makes the copies of tensors."""
        self.run, self.recipe, self.mesh = run, recipe, mesh
        self.blocked_seconds = 0.0
        self._copies = copies or HostCopies()
        self._copied = threading.Event()
        self._copied.set()
        self._thread: threading.Thread | None = None
        self._written: queue.SimpleQueue[Checkpoint] = queue.SimpleQueue()
        self._failure: BaseException | None = None

    def reserve(self, weights: Mapping[str, Tensor], training: Mapping[str, Tensor]) -> None:
        """Take the memory of the copies now, beside training: where it is new, it costs more than the copying."""
        self.finish()
        self._start(lambda: self._copies.reserve(weights, training))

    def begin(self, snapshot: Snapshot) -> None:
        """Begin to write. The tensors must stay as they are until :meth:`wait_until_copied` has returned.

        Raises:
            UserError: the checkpoint before could not be written.
        """
        self.finish()
        self._copied.clear()
        self._start(lambda: self._write(snapshot))

    def wait_until_copied(self) -> None:
        """Wait; to be called before the tensors of the last snapshot change."""
        began = time.monotonic()
        self._copied.wait()
        self.blocked_seconds += time.monotonic() - began

    def finish(self) -> None:
        """Wait until everything is written.

        Raises:
            UserError: it could not be written.
        """
        began = time.monotonic()
        if self._thread is not None:
            with self.mesh.collective_log.waiting("the checkpoint before to be written"):
                self._thread.join()
            self._thread = None
        self.blocked_seconds += time.monotonic() - began
        failure, self._failure = self._failure, None
        if isinstance(failure, UserError):
            raise failure
        if failure is not None:
            raise UserError(
                f"{self.run.checkpoints}: the last checkpoint could not be written: {failure}",
                fix="the checkpoint before it is intact: add --resume to go on from there",
            ) from failure

    def give_up(self) -> None:
        """Let a write that is about to end do so, for some seconds: training has failed."""
        if self._thread is not None:
            self._thread.join(_LAST_WAIT_SECONDS)

    def newly_written(self) -> list[Checkpoint]:
        """Return the checkpoints that have become complete since the last call, but for those deleted meanwhile."""
        written = [self._written.get() for _ in range(self._written.qsize())]
        return [checkpoint for checkpoint in written if checkpoint.path.exists()]

    def _start(self, work: Callable[[], None]) -> None:
        # A daemon: where other processes have died, it may wait for them for ever.
        self._thread = threading.Thread(target=self._kept_failure, args=(work,), name="mtmoe-saver", daemon=True)
        self._thread.start()

    def _kept_failure(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as failure:  # raised again in the main thread
            self._failure = failure
        finally:
            self._copied.set()

    def _write(self, snapshot: Snapshot) -> None:
        weights, training = self._copies.of(snapshot.weights, snapshot.training)
        self._copied.set()
        if self.mesh.size == 1:
            written = save_checkpoint(self.run, weights, training, snapshot.state)
        else:
            sharded = snapshot.sharded
            written = save_sharded_checkpoint(self.run, weights, training, snapshot.state, self.mesh, sharded)
        if self.mesh.is_main:
            retain(self.run, self.recipe.training.keep_last, snapshot.best_steps)
        self._written.put(written)


class HostCopies:
    """Copies of named tensors in main memory; the memory is kept for the next ones."""

    def __init__(self) -> None:
        self._copies: dict[tuple[int, str], Tensor] = {}

    def reserve(self, *groups: Mapping[str, Tensor]) -> None:
        """Take the memory for copies of these tensors."""
        for copy in (self.place(number, name, t) for number, group in enumerate(groups) for name, t in group.items()):
            copy.zero_()

    def of(self, *groups: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """Return the tensors as they are now, contiguous; valid until the next call."""
        return [
            {name: self.place(number, name, tensor).copy_(tensor) for name, tensor in group.items()}
            for number, group in enumerate(groups)
        ]

    def place(self, number: int, name: str, tensor: Tensor) -> Tensor:
        """Return the host memory of a copy, which is kept for the next one."""
        place = self._copies.get((number, name))
        if place is None or place.shape != tensor.shape or place.dtype != tensor.dtype:
            place = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            self._copies[number, name] = place
        return place
