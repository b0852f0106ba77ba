"""Experts that answer while their processes go through the model each at its own pace.

In training all processes of the expert axis come to the same layer at the same time. In a search they do not: one
encodes new sentences while another is at its third word, and one is done before the others. So whoever comes to a
mixture says to which; the first layer that anybody wants is next, and who does not want it takes part without rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from mtmoe.distributed.expert_parallel import ParallelExperts, is_expert_parameter
from mtmoe.distributed.group_parallel import ParallelGroups
from mtmoe.distributed.mesh import Mesh


@contextlib.contextmanager
def unsynchronised_calls(model: nn.Module, mesh: Mesh) -> Iterator[None]:
    """Within it the processes of the expert axis may call the model when and as often as they like, without gradients
    and in one thread; all of them must enter. Whoever leaves answers the others until they leave."""
    layers = [module for module in model.modules() if isinstance(module, ParallelExperts | ParallelGroups)]
    if not layers:
        yield
        return
    dtype = next(p.dtype for name, p in model.named_parameters() if not is_expert_parameter(name))
    turns = _CallScheduler(layers, mesh, dtype)
    for layer in layers:
        layer.before_call = turns.wait_for
    try:
        yield
        turns.leave()
    finally:
        for layer in layers:
            layer.before_call = None


class _CallScheduler:
    def __init__(self, layers: list[ParallelExperts | ParallelGroups], mesh: Mesh, dtype: torch.dtype) -> None:
        self._layers, self._mesh, self._dtype = layers, mesh, dtype

    def wait_for(self, layer: nn.Module) -> None:
        """Until it is that layer's turn."""
        self._answer_until(self._layers.index(layer))  # type: ignore[arg-type]

    def leave(self) -> None:
        """Until all have left."""
        self._answer_until(len(self._layers))

    def _answer_until(self, wanted: int) -> None:
        while (turn := self._next(wanted)) != wanted:
            self._layers[turn].answer(self._dtype)

    def _next(self, wanted: int) -> int:
        self._mesh.collective_log.begin_batch()  # nothing of the layer before need be remembered
        return self._mesh.least_over_experts(wanted, "the next layer of experts")
