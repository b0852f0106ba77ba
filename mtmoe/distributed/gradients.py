"""Gradients of a loss to which every process adds its part: they are summed, never averaged.

Shared parameters have a part of their gradient on every process. An expert has seen the tokens of all processes of
its expert axis already, so only its copies on the data axis are added up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from mtmoe.distributed.expert_parallel import is_expert_parameter
from mtmoe.distributed.mesh import Mesh

_BUCKET_BYTES = 1 << 25  # small gradients travel together; a larger one goes alone


@torch.no_grad()
def sum_gradients(parameters: Mapping[str, nn.Parameter], mesh: Mesh) -> None:
    """Give every process the whole gradient of each of its parameters.

    A parameter without a gradient, because this process had no tokens for it, takes part with zeros.
    """
    if mesh.size == 1:
        return
    for parameter in parameters.values():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    _sum((p for name, p in parameters.items() if not is_expert_parameter(name)), mesh.add_up)
    _sum((p for name, p in parameters.items() if is_expert_parameter(name)), mesh.add_up_copies_of_experts)


def total_norm(parameters: Mapping[str, nn.Parameter], mesh: Mesh) -> Tensor:
    """2-norm of the gradients of all parameters of all processes, each counted once: the same on every process."""
    shared = [p.grad for name, p in parameters.items() if p.grad is not None and not is_expert_parameter(name)]
    experts = [p.grad for name, p in parameters.items() if p.grad is not None and is_expert_parameter(name)]
    if mesh.expert_size == 1 or not experts:
        return nn.utils.get_total_norm([*shared, *experts])
    of_experts = mesh.add_up_over_experts(nn.utils.get_total_norm(experts).square(), "gradient norms")
    return (nn.utils.get_total_norm(shared).square() + of_experts).sqrt()


def _sum(parameters: Iterable[nn.Parameter], add_up: Callable[[Tensor, str], Tensor]) -> None:
    for bucket in _buckets(parameters):
        gradients = [p.grad for p in bucket if p.grad is not None]
        if len(gradients) == 1 and gradients[0].is_contiguous():
            add_up(gradients[0], "gradients")
            continue
        flat = add_up(torch.cat([gradient.flatten() for gradient in gradients]), "gradients")
        parts = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [part.view_as(own) for part, own in zip(parts, gradients, strict=True)])


def _buckets(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    num_bytes = 0
    for parameter in parameters:
        size = parameter.numel() * parameter.element_size()
        if bucket and (num_bytes + size > _BUCKET_BYTES or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket, num_bytes = [], 0
        bucket.append(parameter)
        num_bytes += size
    if bucket:
        yield bucket


@torch.no_grad()
def spread_infinity(parameters: Mapping[str, nn.Parameter], mesh: Mesh) -> None:
    """Where an expert's gradient is not finite on any process, make a shared one infinite on all: fp16's loss scale
    follows what it finds in the gradients of its process, and must stay the same everywhere."""
    if mesh.expert_size == 1:
        return
    experts = [p.grad for name, p in parameters.items() if p.grad is not None and is_expert_parameter(name)]
    shared = next(p.grad for name, p in parameters.items() if p.grad is not None and not is_expert_parameter(name))
    num_broken = sum((~gradient.isfinite().all()).float() for gradient in experts) + shared.new_zeros(1)
    mesh.add_up_over_experts(num_broken, "gradients that are not finite")
    shared.view(-1)[:1].add_(torch.where(num_broken > 0, torch.inf, 0.0))
