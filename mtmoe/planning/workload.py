"""What one process has to do: its part of a batch, its share of the experts, and the arithmetic that it does it in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from mtmoe.config import Recipe
from mtmoe.distributed.expert_parallel import is_expert_parameter
from mtmoe.distributed.mesh import shares
from mtmoe.planning.stages import Side

STREAM_BYTES = 4
"""Of a number in weights, moments, gradients and the residual stream, which stay float32."""


def expert_bytes(recipe: Recipe) -> int:
    """Of one parameter of an expert, or its gradient."""
    return 2 if recipe.training.expert_weights == "bf16" else STREAM_BYTES


class Workload(NamedTuple):
    """One process's sentences of one batch, as many positions with padding as there may be.

    tokens: those that are not padding. The numbers are of a process, and need not be whole.
    """

    rows: float
    source_length: float
    target_length: float
    source_tokens: float
    target_tokens: float

    def positions(self, side: Side) -> float:
        return self.rows * (self.source_length if side == "source" else self.target_length)

    def tokens(self, side: Side) -> float:
        return self.source_tokens if side == "source" else self.target_tokens


class Layout(NamedTuple):
    """How the processes stand. experts_here: the largest share of the experts of a layer that a process has.

    element_bytes: of a number in products and their results (4: fp32; 2: bf16, fp16).
    on_cpu: the libraries and paths of a CPU, which keep other things than those of a GPU.
    """

    num_processes: int
    expert_processes: int
    experts_here: int
    element_bytes: int
    on_cpu: bool

    @property
    def data_processes(self) -> int:
        """Copies of every expert."""
        return self.num_processes // self.expert_processes

    def elements_here(self, name: str, shape: Sequence[int]) -> int:
        """Of a parameter, on the process that has the most of it."""
        if not is_expert_parameter(name):
            return math.prod(shape)
        first = shares(shape[0], self.expert_processes)[0]
        return (first.stop - first.start) * math.prod(shape[1:])


def full_workload(recipe: Recipe, num_processes: int) -> Workload:
    """A process's part of a batch of the longest sentences, without padding: the most that a batch can be."""
    settings = recipe.training
    length = settings.bptt_steps or settings.max_tokens_per_sentence
    tokens = settings.batch_tokens / num_processes
    source = 0.0 if recipe.task == "language-model" else tokens
    source_length = 0 if recipe.task == "language-model" else length
    return Workload(tokens / length, source_length, length, source, tokens)
