"""Data parallelism: gradients of a loss to which every process adds its part are summed, never averaged.

Shared parameters have a part of their gradient on every process. An expert has seen the tokens of all processes of
its expert axis already, so only its copies on the data axis are added up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mtmoe.distributed.mesh import Mesh

BUCKET_BYTES = 1 << 23  # small gradients travel together; a larger one goes alone


class GradientSums:
    """Gives every process the whole gradient of each of its parameters, while the backward pass still goes on.

    Gradients travel in buckets, in the reverse order of the parameters, which is nearly that in which they are
    computed: a bucket goes as soon as its gradients and those of all buckets before it are there. The order is thus the
    same on all processes. A parameter without a gradient, because this process had no tokens for it, takes part with
    zeros, when the pass is over.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], sharded: Collection[str], mesh: Mesh) -> None:
        """Divide the parameters into buckets. ``sharded`` has the names of those that are spread over the expert
        axis."""
        self._mesh = mesh
        self._buckets = list(_buckets(parameters, sharded, mesh))
        self._place = {p: number for number, bucket in enumerate(self._buckets) for p in bucket.parameters}
        self._expecting = False
        self._missing: list[set[nn.Parameter]] = []
        self._begun: list[dist.Work] = []
        for parameter in self._place:
            parameter.register_post_accumulate_grad_hook(self._has_gradient)

    def expect(self) -> None:
        """Expect that the backward pass that follows is the last one before :meth:`finish`."""
        assert not self._begun
        self._missing = [set(bucket.parameters) for bucket in self._buckets]
        self._expecting = True

    def finish(self) -> None:
        """Wait for all sums. All processes must come, with whatever gradients they have."""
        if not self._buckets:
            return
        self._expecting = False
        while len(self._begun) < len(self._buckets):
            self._begin_next()
        # Counted as one, for the number of buckets depends on a process's share of the experts.
        with self._mesh.collective_log.collective("all_reduce of gradients"):
            for work in self._begun:
                work.wait()
        self._begun = []

    def _has_gradient(self, parameter: Tensor) -> None:
        """Begin the sums that are due, when the backward pass has computed a gradient; once more in a pass that is
        repeated for lack of memory."""
        if not self._expecting:
            return
        assert isinstance(parameter, nn.Parameter)
        self._missing[self._place[parameter]].discard(parameter)
        while len(self._begun) < len(self._buckets) and not self._missing[len(self._begun)]:
            self._begin_next()

    @torch.no_grad()
    def _begin_next(self) -> None:
        bucket = self._buckets[len(self._begun)]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket.parameters]
        flat = (
            gradients[0].contiguous().view(-1) if len(gradients) == 1 else torch.cat([g.flatten() for g in gradients])
        )
        del gradients
        # Each a part of what travels, at once: nobody reads them before all is there, and no memory is kept twice.
        parts = flat.split([parameter.numel() for parameter in bucket.parameters])
        for parameter, part in zip(bucket.parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)
        with self._mesh.collective_log.failing_as("all_reduce of gradients"):
            self._begun.append(dist.all_reduce(flat, group=bucket.group, async_op=True))


class _Bucket(NamedTuple):
    parameters: list[nn.Parameter]
    group: dist.ProcessGroup


def _buckets(parameters: Mapping[str, nn.Parameter], sharded: Collection[str], mesh: Mesh) -> Iterator[_Bucket]:
    """Yield all that there is to add up; a bucket holds parameters of one kind and type."""
    if mesh.size == 1:
        return
    open_buckets: dict[tuple[bool, torch.dtype], list[nn.Parameter]] = {}
    for name, parameter in reversed(list(parameters.items())):
        kind = name in sharded, parameter.dtype
        bucket = open_buckets.setdefault(kind, [])
        if bucket and sum(map(_num_bytes, bucket)) + _num_bytes(parameter) > BUCKET_BYTES:
            yield from _bucket(bucket, kind[0], mesh)
            bucket = open_buckets[kind] = []
        bucket.append(parameter)
    for (is_sharded, _), bucket in open_buckets.items():
        yield from _bucket(bucket, is_sharded, mesh)


def _bucket(parameters: list[nn.Parameter], is_sharded: bool, mesh: Mesh) -> Iterator[_Bucket]:
    if not is_sharded:
        yield _Bucket(parameters, mesh.gradient_group)
    elif mesh.data_size > 1:
        yield _Bucket(parameters, mesh.data_group)


def _num_bytes(parameter: nn.Parameter) -> int:
    return parameter.numel() * parameter.element_size()


def total_norm(parameters: Mapping[str, nn.Parameter], sharded: Collection[str], mesh: Mesh) -> Tensor:
    """Return the 2-norm of the gradients of all parameters of all processes, each counted once: the same on every
    process."""
    shared = [p.grad for name, p in parameters.items() if p.grad is not None and name not in sharded]
    experts = [p.grad for name, p in parameters.items() if p.grad is not None and name in sharded]
    if mesh.expert_size == 1 or not experts:
        return nn.utils.get_total_norm([*shared, *experts])
    of_experts = mesh.add_up_over_experts(nn.utils.get_total_norm(experts).square(), "gradient norms")
    return (nn.utils.get_total_norm(shared).square() + of_experts).sqrt()
