"""Expert parallelism: each process of the expert axis holds a contiguous shard of the experts of every layer.

The model's modules know nothing of processes: they are given :class:`ExpertParallelism` when they are built. With two
levels of gating whole groups are spread, with their gates (``group_parallel.py``).

Letters: M pairs of a token and an expert, R rows that this process receives, P processes of the expert axis, F experts
of this process.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mtmoe.distributed.all_to_all import DispatchOrder, DispatchPlan, TokenDispatcher, begin_counts
from mtmoe.distributed.balanced_rows import BalancedRows
from mtmoe.distributed.group_parallel import GroupDispatch
from mtmoe.distributed.mesh import Mesh
from mtmoe.model.moe.experts import Experts, compute_dtype
from mtmoe.model.moe.layer_parallelism import LayerParallelism
from mtmoe.model.moe.moe_layer import MixtureOfExperts
from mtmoe.model.moe.routing import Balance, Routing


class ExpertParallelism:
    """Tells the layers of a model that is being built how they are spread over the processes of a mesh."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    def __call__(self, layer: str) -> LayerParallelism:
        """Return the parallelism of the layer of that name, for one model: another has dispatches of its own."""
        mesh = self._mesh
        if mesh.size == 1:
            return LayerParallelism()
        parallelism = LayerParallelism(
            shard=mesh.share_of_experts,
            reduce_sum=partial(_sum_over_processes, mesh=mesh, what=f"{layer}'s sums of gates"),
            global_rows=BalancedRows(mesh, layer),
            rows_of_same_groups=BalancedRows.of_same_experts(mesh, layer),
        )
        if mesh.expert_size == 1:
            return parallelism
        return parallelism._replace(
            expert_dispatch=ExpertDispatch(mesh, layer), group_dispatch=GroupDispatch(mesh, layer)
        )


class ExpertDispatch:
    """Sends the tokens of a layer of one level to their experts on all processes of the expert axis.

    All of them must call it together. The result is that of one process that has all tokens.
    """

    def __init__(self, mesh: Mesh, layer: str) -> None:
        """Set between whom rows travel. ``layer`` is the layer's name, for who waits for it in vain."""
        self._dispatcher = TokenDispatcher(mesh, layer, "experts")
        self.before_call: Callable[[], None] | None = None

    def __call__(self, layer: MixtureOfExperts, x_ND: Tensor) -> tuple[Tensor, Balance]:
        """Return ``sum_i G(x)_i E_i(x)``, [N, D]; rows travel in the type of the arithmetic."""
        routing = layer.gate(x_ND)
        if self.before_call is not None:
            self.before_call()
        assert routing.balance is not None  # every gate reports it
        return self._exchange(layer.experts, x_ND, routing), routing.balance

    def take_part_without_rows(self, layer: MixtureOfExperts, dtype: torch.dtype) -> None:
        """Compute for the other processes, without rows; ``dtype`` is what theirs have before autocast."""
        experts = layer.experts
        none, device = torch.zeros(0, dtype=torch.int64, device=experts.first_EDH.device), experts.first_EDH.device
        token_counts_E = none.new_zeros(experts.num_experts)
        x_ND = torch.zeros(0, experts.first_EDH.shape[1], dtype=dtype, device=device)
        self._exchange(experts, x_ND, Routing(none, none, torch.zeros(0, device=device), None, token_counts_E, None))

    def _exchange(self, experts: Experts, x_ND: Tensor, routing: Routing) -> Tensor:
        counts = begin_counts(routing.token_counts_E, self._dispatcher)
        if self._dispatcher.mesh.collective_log.has_no_rows:
            return self._without_rows(experts, x_ND, counts.plan())
        order = DispatchOrder(routing, x_ND.shape[0])
        sent_MD = order.rows(x_ND.to(compute_dtype(x_ND)))
        plan = counts.plan()
        received_RD = self._dispatcher.dispatch(sent_MD, plan)
        output_RD = experts(received_RD, _one_pair_each(plan))
        return order.combine(self._dispatcher.send_back(output_RD, plan), routing.gates_M)

    def _without_rows(self, experts: Experts, x_ND: Tensor, plan: DispatchPlan) -> Tensor:
        """Go through the collectives that the others expect, forward and backward, with rows that nobody will use."""
        dtype = compute_dtype(x_ND)
        nothing = (x_ND.sum() * 0.0).to(dtype)  # through which the gradient must come
        received_RD = self._dispatcher.dispatch(nothing.expand(sum(plan.sent), x_ND.shape[1]), plan)
        # Gradients of zero, which come when those of the others do: their sums may begin in this pass.
        received_RD = received_RD + (0.0 * (experts.first_EDH[:0].sum() + experts.second_EHD[:0].sum())).to(dtype)
        output_MD = self._dispatcher.send_back(received_RD, plan)
        return x_ND.to(dtype) + output_MD.sum().to(dtype)


def _one_pair_each(plan: DispatchPlan) -> Routing:
    """Return the routing of received rows: each has one expert, and its gate is 1."""
    rows_R = torch.arange(plan.num_rows, device=plan.counts_PF.device)
    gates_R = torch.ones(plan.num_rows, device=plan.counts_PF.device)
    return Routing(rows_R, plan.units_R(), gates_R, 1, plan.counts_F, None)


def _sum_over_processes(sums: Tensor, mesh: Mesh, what: str) -> Tensor:
    output: Tensor = _SumOverProcesses.apply(sums, mesh, what)
    return output


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a vector over all processes, of which each hands back the gradient of its own part.

    Every process computes the same loss of the sum, and gradients of parameters are added up over processes: so each
    term of the sum's derivative is counted once (`docs/explanation/paper.md#decision-6`).
    """

    @staticmethod
    def forward(ctx: Any, sums: Tensor, mesh: Mesh, what: str) -> Tensor:
        return mesh.add_up(sums.clone(), what)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient, None, None
