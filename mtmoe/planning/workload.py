"""Workload of one process: its part of a batch, its share of the experts, and its arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from mtmoe.config import Recipe
from mtmoe.distributed.mesh import shares
from mtmoe.planning.stages import Side

STREAM_BYTES = 4
"""Of a number in weights, moments, gradients and the residual stream, which stay float32."""


def expert_bytes(recipe: Recipe) -> int:
    """Return the bytes of one parameter of an expert, which are also those of its gradient."""
    return 2 if recipe.training.expert_weights == "bf16" else STREAM_BYTES


class Workload(NamedTuple):
    """Sentences of one batch on one process, with as many padded positions as there may be.

    source_tokens and target_tokens do not count padding. All numbers are averages over processes and need not be whole.
    """

    rows: float
    source_length: float
    target_length: float
    source_tokens: float
    target_tokens: float

    def positions(self, side: Side) -> float:
        """Return the number of positions of a side, padding included."""
        return self.rows * (self.source_length if side == "source" else self.target_length)

    def tokens(self, side: Side) -> float:
        """Return the number of tokens of a side, without padding."""
        return self.source_tokens if side == "source" else self.target_tokens


class Layout(NamedTuple):
    """Division of the work among processes.

    experts_here: the largest number of a layer's experts that a process has.
    element_bytes: bytes of a number in products and their results (4: fp32; 2: bf16, fp16).
    on_cpu: whether the libraries and code paths are a CPU's, which keep other things than those of a GPU.
    """

    num_processes: int
    expert_processes: int
    experts_here: int
    element_bytes: int
    on_cpu: bool

    @property
    def data_processes(self) -> int:
        """Return how many copies of every expert there are."""
        return self.num_processes // self.expert_processes

    def elements_here(self, shape: Sequence[int], is_sharded: bool) -> int:
        """Return the elements of a parameter on the process that has the most of it."""
        if not is_sharded:
            return math.prod(shape)
        first = shares(shape[0], self.expert_processes)[0]
        number: int = (first.stop - first.start) * math.prod(shape[1:])
        return number


def full_workload(recipe: Recipe, num_processes: int) -> Workload:
    """Return a process's part of the largest batch there can be: the longest sentences, without padding; what is read
    twice is there twice."""
    settings = recipe.training
    usual = settings.bptt_steps or settings.max_tokens_per_sentence
    length = usual + settings.bptt_spread_tokens
    tokens = settings.batch_tokens / num_processes * settings.num_readings * length / usual
    source = 0.0 if recipe.task == "language-model" else tokens
    source_length = 0 if recipe.task == "language-model" else length
    return Workload(tokens / length, source_length, length, source, tokens)
