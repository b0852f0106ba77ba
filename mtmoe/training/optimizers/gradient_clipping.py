"""Gradient clipping by the global norm."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from mtmoe.distributed.data_parallel import total_norm
from mtmoe.distributed.mesh import ONE_PROCESS, Mesh


def clip_gradients(
    parameters: Mapping[str, nn.Parameter],
    max_norm: float,
    mesh: Mesh = ONE_PROCESS,
    sharded: Collection[str] = frozenset(),
) -> Tensor:
    """Scale all gradients in place so that their global 2-norm is at most ``max_norm``.

    Args:
        sharded: the names of those parameters that are spread over the processes.

    Returns:
        The norm before, a scalar: over the parameters of all processes, each counted once.
    """
    norm = total_norm(parameters, sharded, mesh)
    # On a CPU the pass over the gradients is saved when they are short enough; a GPU is not asked.
    if norm.is_cuda or norm > max_norm:
        nn.utils.clip_grads_with_norm_(parameters.values(), max_norm, norm)
    return norm
