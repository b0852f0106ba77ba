"""Parallelism of a mixture-of-experts layer: its expert shard, and how it reaches the other processes.

Whoever builds a model passes it to the constructors; by default there is one process, which has all experts.

Letters: C largest values of an expert.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mtmoe.model.moe.moe_layer import MixtureOfExperts
    from mtmoe.model.moe.routing import Balance

ExpertShard = Callable[[int], slice]
"""Maps a number of experts, or of groups of experts, to those of them that this process has."""


class GlobalRows(Protocol):
    """The rows of all processes, of which a strictly balanced gate takes the best."""

    def count(self, num_rows: int) -> tuple[int, int]:
        """Return (sum, largest) of the numbers of rows that the processes have."""

    def share_out(self, best_EC: Tensor, m: int) -> tuple[Tensor, Tensor]:
        """Return (the m-th largest value of all processes, how many values equal to it are for this one), both [E].

        Args:
            best_EC: the largest values of each expert here, descending and filled up with -inf.
        """


class LayerDispatch(Protocol):
    """Sends the tokens of a layer to the processes that have their experts, and their outputs back."""

    before_call: Callable[[], None] | None
    """Called before a forward pass where the processes do not come to the layer at the same time by themselves."""

    def __call__(self, layer: MixtureOfExperts, x_ND: Tensor) -> tuple[Tensor, Balance]:
        """Return what the experts of all processes make of x_ND, before the layer's sigmoid, and the balance."""

    def take_part_without_rows(self, layer: MixtureOfExperts, dtype: torch.dtype) -> None:
        """Compute for the other processes, without rows; ``dtype`` is what theirs have before autocast."""


def _all_experts(number: int) -> slice:
    return slice(0, number)


def _own_sums(sums: Tensor) -> Tensor:
    return sums


class LayerParallelism(NamedTuple):
    """What one layer is told of the processes that it is spread over.

    shard: which experts, or groups of experts with their gates, are built here.
    reduce_sum: adds up a vector over all processes, with a gradient. A gate calls it once in a forward pass in
        training, with all sums over tokens that its losses are made of: the losses are those of the global batch
        (`docs/explanation/paper.md#decision-6`).
    global_rows: the rows of all processes; None where the batch is not divided.
    rows_of_same_groups: the same between the processes that have the same groups of experts.
    expert_dispatch, group_dispatch: for a layer of one and of two levels; None where all experts are here.
    """

    shard: ExpertShard = _all_experts
    reduce_sum: Callable[[Tensor], Tensor] = _own_sums
    global_rows: GlobalRows | None = None
    rows_of_same_groups: GlobalRows | None = None
    expert_dispatch: LayerDispatch | None = None
    group_dispatch: LayerDispatch | None = None


ONE_PROCESS_LAYER = LayerParallelism()
ModelParallelism = Callable[[str], LayerParallelism]
"""Maps the name of a layer, such as ``encoder.moe1``, to its parallelism."""


def one_process(layer: str) -> LayerParallelism:
    """Return the parallelism of a layer whose experts are all on this process."""
    return ONE_PROCESS_LAYER
