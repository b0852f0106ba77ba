"""Unsynchronised calls of a model whose experts are spread: each process goes through it at its own pace.

In training all processes of the expert axis come to the same layer at the same time. In a search they do not: one
encodes new sentences while another is at its third word, and one is done before the others. So whoever comes to a
mixture says to which; the first layer that anybody wants is next, and who does not want it takes part without rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import torch
from torch import nn

from mtmoe.distributed.mesh import Mesh
from mtmoe.model.moe.moe_layer import MixtureOfExperts
from mtmoe.model.parameter_roles import parameter_roles


@contextlib.contextmanager
def unsynchronised_calls(model: nn.Module, mesh: Mesh) -> Iterator[None]:
    """Let the processes of the expert axis call the model when and as often as they like, within the context.

    They call it without gradients and in one thread; all of them must enter. Whoever leaves takes part in the calls of
    the others until they leave.
    """
    layers = [module for module in model.modules() if isinstance(module, MixtureOfExperts)]
    if mesh.expert_size == 1 or not layers:
        yield
        return
    sharded = parameter_roles(model).sharded
    dtype = next(p.dtype for name, p in model.named_parameters() if name not in sharded)
    scheduler = _CallScheduler(layers, mesh, dtype)
    dispatches = [layer.dispatch for layer in layers if layer.dispatch is not None]
    for number, dispatch in enumerate(dispatches):
        dispatch.before_call = partial(scheduler.wait_for, number)
    try:
        yield
        scheduler.leave()
    finally:
        for dispatch in dispatches:
            dispatch.before_call = None


class _CallScheduler:
    def __init__(self, layers: list[MixtureOfExperts], mesh: Mesh, dtype: torch.dtype) -> None:
        self._layers, self._mesh, self._dtype = layers, mesh, dtype

    def wait_for(self, layer: int) -> None:
        """Take part in the calls of other layers until it is the turn of that one."""
        self._take_part_until(layer)

    def leave(self) -> None:
        """Take part in the calls of all layers until all processes have left."""
        self._take_part_until(len(self._layers))

    def _take_part_until(self, wanted: int) -> None:
        while (turn := self._next(wanted)) != wanted:
            layer = self._layers[turn]
            assert layer.dispatch is not None
            layer.dispatch.take_part_without_rows(layer, self._dtype)

    def _next(self, wanted: int) -> int:
        self._mesh.collective_log.begin_batch()  # nothing of the layer before need be remembered
        return self._mesh.least_over_experts(wanted, "the next layer of experts")
