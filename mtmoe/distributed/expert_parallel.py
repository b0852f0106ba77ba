"""Experts that are spread over the processes of the expert axis: each holds a contiguous share of them.

Swapped in from outside (:func:`parallelise`): the model's files know nothing of it. With two levels whole groups are
spread, with their gates (``group_parallel.py``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mtmoe.distributed.all_to_all import DispatchOrder, DispatchPlan, TokenDispatcher, begin_counts
from mtmoe.distributed.balanced_rows import BalancedRows
from mtmoe.distributed.group_parallel import ParallelGroups
from mtmoe.distributed.mesh import Mesh
from mtmoe.model.moe.experts import Experts, compute_dtype
from mtmoe.model.moe.gating import BalancedGate, Gate, HierarchicalBalancedGate, TwoLevelGate
from mtmoe.model.moe.moe_layer import MixtureOfExperts
from mtmoe.model.moe.routing import Routing

_OF_EXPERTS = re.compile(r"\.experts\.|\.gate\.\w+_(GDL|GL)(\.|$)")  # stacked over experts, or over groups


def parallelise(model: nn.Module, mesh: Mesh) -> None:
    """Let the experts of every layer, of which each process has its share, work for all, and give the gates the sums of
    all processes.

    The model is one that was made within ``keeping_experts(mesh.share_of_experts)``, with the same weights everywhere.
    The parameters keep their names.
    """
    for path, module in list(model.named_modules()):
        layer = _layer(path)
        if isinstance(module, Gate) and mesh.size > 1:
            module.reduce_sum = partial(_sum_over_processes, mesh=mesh, what=f"{layer}'s sums of gates")
            if isinstance(module, BalancedGate):
                module.others = BalancedRows(mesh, layer)
            if isinstance(module, HierarchicalBalancedGate):
                module.others_of_groups = BalancedRows.of_same_experts(mesh, layer)
        for name, child in module.named_children() if mesh.expert_size > 1 else ():
            if isinstance(child, MixtureOfExperts) and isinstance(child.gate, TwoLevelGate):
                setattr(module, name, ParallelGroups(child, mesh, _layer(f"{path}.{name}")))
            elif isinstance(child, Experts) and not isinstance(module.gate, TwoLevelGate):
                setattr(module, name, ParallelExperts(child, mesh, layer))


def _layer(path: str) -> str:
    """``encoder.moe1`` of ``encoder.moe_layers.1.gate``, as the metrics call it; a language model is a decoder."""
    side, _, rest = path.rpartition("moe_layers.")
    return f"{side or 'decoder.'}moe{rest.partition('.')[0]}"


def is_expert_parameter(name: str) -> bool:
    """Whether what has that name (a parameter, or what belongs to one) is of experts, or of groups of experts, which
    may be spread: along its first dimension."""
    return _OF_EXPERTS.search(name) is not None


class ParallelExperts(Experts):
    """The same function of the tokens of all processes of the expert axis; all of them must call it together."""

    def __init__(self, own: Experts, mesh: Mesh, layer: str) -> None:
        """``own``: this process's share. ``layer``: its name, for who waits for it in vain."""
        nn.Module.__init__(self)
        if own.kept != mesh.share_of_experts(own.num_experts):
            raise ValueError(f"{layer} was made with the experts {own.kept}, which is not this process's share")
        self.recompute, self.num_experts, self.kept = own.recompute, own.num_experts, own.kept
        self.training = own.training
        self._dispatcher = TokenDispatcher(mesh, layer, "experts")
        self.before_call: Callable[[nn.Module], None] | None = None
        """Where processes do not come to this layer at the same time by themselves (``unsynchronised_calls.py``)."""
        self.first_EDH, self.second_EHD = own.first_EDH, own.second_EHD

    def forward(self, x_ND: Tensor, routing: Routing) -> Tensor:
        """As :meth:`Experts.forward`. Rows travel in the type of the arithmetic."""
        if self.before_call is not None:
            self.before_call(self)
        return self._exchanged(x_ND, routing)

    def answer(self, dtype: torch.dtype) -> None:
        """Compute for the others, without rows; ``dtype`` is what theirs have before autocast."""
        none, device = torch.zeros(0, dtype=torch.int64, device=self.first_EDH.device), self.first_EDH.device
        token_counts_E = none.new_zeros(self.num_experts)
        x_ND = torch.zeros(0, self.first_EDH.shape[1], dtype=dtype, device=device)
        self._exchanged(x_ND, Routing(none, none, torch.zeros(0, device=device), None, token_counts_E, None))

    def _exchanged(self, x_ND: Tensor, routing: Routing) -> Tensor:
        counts = begin_counts(routing.token_counts_E, self._dispatcher)
        if self._dispatcher.mesh.collective_log.has_no_rows:
            return self._without_rows(x_ND, counts.plan())
        order = DispatchOrder(routing, x_ND.shape[0])
        sent_MD = order.rows(x_ND.to(compute_dtype(x_ND)))
        plan = counts.plan()
        received_RD = self._dispatcher.dispatch(sent_MD, plan)
        output_RD = super().forward(received_RD, _one_pair_each(plan))
        return order.combine(self._dispatcher.send_back(output_RD, plan), routing.gates_M)

    def _without_rows(self, x_ND: Tensor, plan: DispatchPlan) -> Tensor:
        """The same collectives, forward and backward, as the others expect them, of rows that nobody will use."""
        dtype = compute_dtype(x_ND)
        nothing = (x_ND.sum() * 0.0).to(dtype)  # through which the gradient must come
        received_RD = self._dispatcher.dispatch(nothing.expand(sum(plan.sent), x_ND.shape[1]), plan)
        # Gradients of zero, which come when those of the others do: their sums may begin in this pass.
        received_RD = received_RD + (0.0 * (self.first_EDH[:0].sum() + self.second_EHD[:0].sum())).to(dtype)
        output_MD = self._dispatcher.send_back(received_RD, plan)
        return x_ND.to(dtype) + output_MD.sum().to(dtype)


def _one_pair_each(plan: DispatchPlan) -> Routing:
    """Of received rows: each has one expert, and its gate is 1."""
    rows_R = torch.arange(plan.num_rows, device=plan.counts_PF.device)
    gates_R = torch.ones(plan.num_rows, device=plan.counts_PF.device)
    return Routing(rows_R, plan.units_R(), gates_R, 1, plan.counts_F, None)


def _sum_over_processes(sums: Tensor, mesh: Mesh, what: str) -> Tensor:
    return _SumOverProcesses.apply(sums, mesh, what)


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
