"""What the parity of whole trainings does not meet: gradients that are not finite, large ones, and none."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from mtmoe.distributed import data_parallel
from mtmoe.distributed.data_parallel import GradientSums
from mtmoe.distributed.mesh import joined_processes
from mtmoe.training.loss_scaling import spread_infinity
from tests.distributed.processes.group import run_group
from tests.distributed.processes.recipes import small_recipe

CPU = torch.device("cpu")
SHARDED = frozenset({"x.experts.first_EDH"})


def parameters(rank: int) -> dict[str, nn.Parameter]:
    """Gradients are rank + 1; of the last parameter only process 0 has one."""
    made = {name: nn.Parameter(torch.zeros(3, 4)) for name in ("a", "x.experts.first_EDH", "b", "c")}
    for name, parameter in made.items():
        if name != "c" or rank == 0:
            parameter.grad = torch.full((3, 4), float(rank + 1))
    made["b"].grad = torch.full((4, 3), float(rank + 1)).t()  # of another layout
    return made


def summed(bucket_bytes: int) -> dict[str, np.ndarray]:
    data_parallel.BUCKET_BYTES = bucket_bytes
    with joined_processes(small_recipe(2), CPU) as mesh:
        made = parameters(mesh.rank)
        GradientSums(made, SHARDED, mesh).finish()
        return {name: p.grad.numpy() for name, p in made.items() if p.grad is not None}


class Order(NamedTuple):
    """Sums begun: after a first backward pass, after the last one, at the end. gradient: of each parameter."""

    begun: tuple[int, int, int]
    gradients: dict[str, np.ndarray]


def two_passes() -> Order:
    data_parallel.BUCKET_BYTES = 1
    with joined_processes(small_recipe(1), CPU) as mesh:
        made = {name: nn.Parameter(torch.ones(5)) for name in ("a", "x.experts.first_EDH", "unused", "b")}
        sums, number, all_reduce = GradientSums(made, SHARDED, mesh), [0], dist.all_reduce

        def counted(*arguments: Any, **options: Any) -> Any:
            number[0] += 1
            return all_reduce(*arguments, **options)

        def after_backward() -> int:
            (made["a"] * (mesh.rank + 1) + made["x.experts.first_EDH"] * made["b"]).sum().backward()
            return number[0]

        dist.all_reduce = counted
        try:
            first = after_backward()
            sums.expect()
            second = after_backward()
            sums.finish()
        finally:
            dist.all_reduce = all_reduce
        return Order((first, second, number[0]), {n: p.grad.numpy() for n, p in made.items() if p.grad is not None})


def broken() -> list[bool]:
    with joined_processes(small_recipe(2), CPU) as mesh:
        made = parameters(0)
        before = spread(made, mesh)
        if mesh.rank == 1:
            made["x.experts.first_EDH"].grad[2, 1] = torch.inf  # type: ignore[index]
        return [before, spread(made, mesh)]


def spread(made, mesh) -> bool:
    spread_infinity(made, SHARDED, mesh)
    return any(not bool(p.grad.isfinite().all()) for name, p in made.items() if "experts" not in name)


def test_shared_gradients_are_summed_in_buckets_or_alone_and_those_of_experts_stay_with_them():
    for bucket_bytes in (1, 1 << 20):
        for rank, found in enumerate(run_group(2, summed, bucket_bytes)):
            assert found.keys() == {"a", "x.experts.first_EDH", "b", "c"}
            for name, expected in (("a", 3), ("b", 3), ("c", 1), ("x.experts.first_EDH", rank + 1)):
                assert (found[name] == expected).all(), (name, bucket_bytes)


def test_sums_begin_in_the_last_backward_pass_and_keep_their_order():
    """Last to first: b goes in the pass; the one after it has no gradient, and the others wait for the end."""
    for result in run_group(2, two_passes):
        assert result.begun == (0, 1, 4)
        assert {name: set(grad) for name, grad in result.gradients.items()} == {
            "a": {6.0}, "x.experts.first_EDH": {4.0}, "unused": {0.0}, "b": {4.0}
        }  # fmt: skip


def test_an_infinite_gradient_of_one_processs_expert_is_seen_by_all():
    assert run_group(2, broken) == [[False, True], [False, True]]
