"""Experts that are spread over the processes of the expert axis: each holds a contiguous share of them.

Swapped in from outside (:func:`parallelise`): the model's files know nothing of it. The rows of a batch travel to the
experts and back by `all_to_all_single` with uneven splits, so that any number of tokens, also none, may go anywhere.

Letters besides the house's: P processes of the expert axis, F experts of this process, R rows that it receives.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mtmoe.distributed.balanced_rows import BalancedRows
from mtmoe.distributed.mesh import Mesh, shares
from mtmoe.model.expert_operator import first_pairs
from mtmoe.model.experts import Experts, compute_dtype
from mtmoe.model.gating import BalancedGate, Gate
from mtmoe.model.padded_experts import gathered_sum
from mtmoe.model.routing import Routing
from mtmoe.model.rows import inverse_permutation


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
        for name, child in module.named_children():
            if isinstance(child, Experts) and mesh.expert_size > 1:
                setattr(module, name, ParallelExperts(child, mesh, layer))


def _layer(path: str) -> str:
    """``encoder.moe1`` of ``encoder.mixtures.1.gate``, as the metrics call it; a language model is a decoder."""
    side, _, rest = path.rpartition("mixtures.")
    return f"{side or 'decoder.'}moe{rest.partition('.')[0]}"


def is_expert_parameter(name: str) -> bool:
    """Whether the parameter of that name is of experts, which may be spread."""
    return ".experts." in name


class ParallelExperts(Experts):
    """The same function of the tokens of all processes of the expert axis; all of them must call it together."""

    def __init__(self, own: Experts, mesh: Mesh, layer: str) -> None:
        """``own``: this process's share. ``layer``: its name, for who waits for it in vain."""
        nn.Module.__init__(self)
        if own.kept != mesh.share_of_experts(own.num_experts):
            raise ValueError(f"{layer} was made with the experts {own.kept}, which is not this process's share")
        self.recompute, self.num_experts, self.kept = own.recompute, own.num_experts, own.kept
        self._mesh, self._layer = mesh, layer
        self.before_call: Callable[[ParallelExperts], None] | None = None
        """Where processes do not come to this layer at the same time by themselves (``turns.py``)."""
        self._shares = shares(own.num_experts, mesh.expert_size)
        self.first_EDH, self.second_EHD = own.first_EDH, own.second_EHD

    def forward(self, x_ND: Tensor, routing: Routing) -> Tensor:
        """As :meth:`Experts.forward`. Rows travel in the type of the arithmetic."""
        if self.before_call is not None:
            self.before_call(self)
        return self._exchanged(x_ND, routing)

    def answer(self, dtype: torch.dtype) -> None:
        """Compute for the others, without rows; ``dtype`` is what theirs have before autocast."""
        none, device = torch.zeros(0, dtype=torch.int64, device=self.first_EDH.device), self.first_EDH.device
        counts_E = none.new_zeros(self.num_experts)
        x_ND = torch.zeros(0, self.first_EDH.shape[1], dtype=dtype, device=device)
        self._exchanged(x_ND, Routing(none, none, torch.zeros(0, device=device), 0, counts_E, None))

    def _exchanged(self, x_ND: Tensor, routing: Routing) -> Tensor:
        calls = self._mesh.calls
        exchange = calls.promised(lambda: _Exchange(routing.counts_E, self._shares, self._mesh, self._layer))
        exchange.begin()
        if calls.has_no_rows:
            return self._without_rows(x_ND, exchange.plan())
        order_M = routing.experts_M.argsort(stable=True)
        inverse_M = inverse_permutation(order_M)
        first_N = first_pairs(routing.tokens_M, x_ND.shape[0], routing.experts_per_token)
        source_M = routing.tokens_M.index_select(0, order_M)
        sent_MD = _ByExpert.apply(x_ND.to(compute_dtype(x_ND)), source_M, inverse_M, first_N)

        plan = exchange.plan()
        received_RD = self._to_experts(sent_MD, plan)
        output_RD = super().forward(received_RD, plan.routing(received_RD))
        output_MD = self._to_tokens(output_RD, plan)
        return _Combined.apply(output_MD, routing.gates_M, source_M, order_M, inverse_M, first_N)

    def _to_experts(self, sent_MD: Tensor, plan: _Plan) -> Tensor:
        what = f"all_to_all_single of rows to the experts of {self._layer}"
        return _AllToAll.apply(sent_MD, plan.received, plan.sent, self._mesh, what)

    def _to_tokens(self, output_RD: Tensor, plan: _Plan) -> Tensor:
        what = f"all_to_all_single of outputs from the experts of {self._layer}"
        return _AllToAll.apply(output_RD, plan.sent, plan.received, self._mesh, what)

    def _without_rows(self, x_ND: Tensor, plan: _Plan) -> Tensor:
        """The same collectives, forward and backward, as the others expect them, of rows that nobody will use."""
        dtype = compute_dtype(x_ND)
        nothing = (x_ND.sum() * 0.0).to(dtype)  # through which the gradient must come
        received_RD = self._to_experts(nothing.expand(sum(plan.sent), x_ND.shape[1]), plan)
        # Gradients of zero, which come when those of the others do: their sums may begin in this pass.
        received_RD = received_RD + (0.0 * (self.first_EDH[:0].sum() + self.second_EHD[:0].sum())).to(dtype)
        output_MD = self._to_tokens(received_RD, plan)
        return x_ND.to(dtype) + output_MD.sum().to(dtype)


class _Plan(NamedTuple):
    """sent, received: rows to and from each process. counts_PF: rows from each process to each own expert."""

    sent: list[int]
    received: list[int]
    counts_PF: Tensor

    def routing(self, received_RD: Tensor) -> Routing:
        """Of the received rows, which are sorted by process and then by expert: one pair each, its gate 1."""
        num_processes, num_own = self.counts_PF.shape
        experts_PF = torch.arange(num_own, device=received_RD.device).repeat(num_processes)
        num_rows = received_RD.shape[0]
        experts_R = experts_PF.repeat_interleave(self.counts_PF.flatten(), output_size=num_rows)
        rows_R = torch.arange(num_rows, device=received_RD.device)
        gates_R = torch.ones(num_rows, device=received_RD.device)
        return Routing(rows_R, experts_R, gates_R, 1, self.counts_PF.sum(0), None)


class _Exchange:
    """Tells every process how many rows it will get. Begun before there are rows to send, and waited for after."""

    def __init__(self, counts_E: Tensor, places: list[slice], mesh: Mesh, layer: str) -> None:
        self._sizes, self._mesh = [place.stop - place.start for place in places], mesh
        self._what = f"all_to_all_single of token counts of {layer}"
        self._counts_E = counts_E.contiguous()
        self._counts_PF = counts_E.new_empty(len(places), self._sizes[mesh.expert_rank])
        self._sent_P = torch.stack([counts_E[place].sum() for place in places])

    def begin(self) -> None:
        """Send the counts, and do not wait for those of the others."""
        received = [self._counts_PF.shape[1]] * len(self._sizes)
        flat, group = self._counts_PF.view(-1), self._mesh.expert_group
        with self._mesh.calls.collective(self._what) as due:
            if due:
                self._work = dist.all_to_all_single(
                    flat, self._counts_E, received, self._sizes, group=group, async_op=True
                )  # fmt: skip

    def plan(self) -> _Plan:
        """The layer's only wait for the device."""
        with self._mesh.calls.waiting(self._what):
            self._work.wait()
            sent, received = torch.stack((self._sent_P, self._counts_PF.sum(1))).tolist()
        return _Plan(sent, received, self._counts_PF)


class _AllToAll(torch.autograd.Function):
    """Rows to other processes, gradients back; every process must come, with or without rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, received: list[int], sent: list[int], mesh: Mesh, what: str) -> Tensor:
        ctx.splits, ctx.mesh, ctx.what = (sent, received), mesh, what
        return _exchanged(rows, received, sent, mesh, what)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        received, sent = ctx.splits
        return _exchanged(gradient, received, sent, ctx.mesh, f"{ctx.what}, backward"), None, None, None, None


def _exchanged(rows: Tensor, received: list[int], sent: list[int], mesh: Mesh, what: str) -> Tensor:
    out, rows = rows.new_empty(sum(received), rows.shape[1]), rows.contiguous()
    with mesh.calls.collective(what) as due:
        if due:
            dist.all_to_all_single(out, rows, received, sent, group=mesh.expert_group)
    return out


class _ByExpert(torch.autograd.Function):
    """A row for each pair, sorted by expert. Backward gathers and adds in order, without atomics."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, source_M: Tensor, inverse_M: Tensor, first_N: Tensor) -> Tensor:
        ctx.save_for_backward(inverse_M, first_N)
        return x_ND.index_select(0, source_M)

    @staticmethod
    def backward(ctx: Any, gradient_MD: Tensor) -> Any:
        inverse_M, first_N = ctx.saved_tensors
        ones_M = gradient_MD.new_ones(inverse_M.shape[0])
        return _sum_of_pairs(gradient_MD, inverse_M, first_N, ones_M), None, None, None


class _Combined(torch.autograd.Function):
    """Eq. 1: ``y_n = sum of gate times output`` over the pairs of token n; the outputs come sorted by expert."""

    @staticmethod
    def forward(
        ctx: Any, output_MD: Tensor, gates_M: Tensor, source_M: Tensor, order_M: Tensor, inverse_M: Tensor,
        first_N: Tensor,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(output_MD, gates_M, source_M, order_M, inverse_M)
        return _sum_of_pairs(output_MD, inverse_M, first_N, gates_M)

    @staticmethod
    def backward(ctx: Any, gradient_ND: Tensor) -> Any:
        output_MD, gates_M, source_M, order_M, inverse_M = ctx.saved_tensors
        gradient_MD = gradient_ND.index_select(0, source_M)
        sorted_gates_M1 = gates_M.to(output_MD.dtype).index_select(0, order_M).unsqueeze(1)
        wide = torch.promote_types(torch.float32, output_MD.dtype)
        gate_gradient_M = (gradient_MD * output_MD).sum(1, dtype=wide).index_select(0, inverse_M).to(gates_M.dtype)
        return gradient_MD * sorted_gates_M1, gate_gradient_M, None, None, None, None


def _sum_of_pairs(rows_MD: Tensor, inverse_M: Tensor, first_N: Tensor, weights_M: Tensor) -> Tensor:
    if not rows_MD.shape[0]:
        return rows_MD.new_zeros(first_N.shape[0], rows_MD.shape[1])
    return gathered_sum(rows_MD, inverse_M, first_N, weights_M)


def _sum_over_processes(sums: Tensor, mesh: Mesh, what: str) -> Tensor:
    return _SumOverProcesses.apply(sums, mesh, what)


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a vector over all processes, of which each hands back the gradient of its own part.

    Every process computes the same loss of the sum, and gradients of parameters are added up over processes: so each
    term of the sum's derivative is counted once (spec 8, row 6).
    """

    @staticmethod
    def forward(ctx: Any, sums: Tensor, mesh: Mesh, what: str) -> Tensor:
        return mesh.add_up(sums.clone(), what)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient, None, None
