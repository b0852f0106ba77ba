"""All-to-all exchange: token rows go to the processes that have their experts, or groups of experts, and back.

`all_to_all_single` with uneven splits, so that any number of tokens, also none, may go anywhere. What is spread is
called a unit here: an expert, or a whole group of them.

Letters: U units of the layer, P processes of the expert axis, F units of this process, M pairs of a token and a unit, R
rows that this process receives, C columns of a row.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from mtmoe.distributed.mesh import Mesh, shares
from mtmoe.model.moe.expert_operator import first_pairs
from mtmoe.model.moe.padded_experts import gathered_sum
from mtmoe.model.moe.routing import Routing
from mtmoe.model.ops.rows import inverse_permutation, permute_rows


class TokenDispatcher(NamedTuple):
    """Between which processes rows of a layer travel. units: what they go to, for who waits for it in vain."""

    mesh: Mesh
    layer: str
    units: str

    def dispatch(self, sent_MC: Tensor, plan: DispatchPlan, what: str = "rows") -> Tensor:
        """Send rows that are sorted by unit, and return those that come from all processes, sorted by process and then
        unit."""
        what = f"all_to_all_single of {what} to the {self.units} of {self.layer}"
        output: Tensor = _AllToAll.apply(sent_MC, plan.received, plan.sent, self.mesh, what)
        return output

    def send_back(self, output_RC: Tensor, plan: DispatchPlan) -> Tensor:
        """Send the outputs of received rows to the processes of their tokens."""
        what = f"all_to_all_single of outputs from the {self.units} of {self.layer}"
        output: Tensor = _AllToAll.apply(output_RC, plan.sent, plan.received, self.mesh, what)
        return output


class DispatchPlan(NamedTuple):
    """sent, received: rows to and from each process. counts_PF: rows from each process to each own unit."""

    sent: list[int]
    received: list[int]
    counts_PF: Tensor

    @property
    def num_rows(self) -> int:
        """Return R."""
        return sum(self.received)

    @property
    def counts_F(self) -> Tensor:
        """Return the rows of each own unit."""
        return self.counts_PF.sum(0)

    def units_R(self) -> Tensor:
        """Return the unit, among those here, of each received row."""
        num_processes, num_own = self.counts_PF.shape
        unit_PF = torch.arange(num_own, device=self.counts_PF.device).repeat(num_processes)
        return unit_PF.repeat_interleave(self.counts_PF.flatten(), output_size=self.num_rows)


class DispatchCounts:
    """Tells every process how many rows it will get. Begun before there are rows to send, and waited for after."""

    def __init__(self, counts_U: Tensor, dispatcher: TokenDispatcher) -> None:
        places = shares(counts_U.shape[0], dispatcher.mesh.expert_size)
        self._sizes, self._mesh = [place.stop - place.start for place in places], dispatcher.mesh
        self._what = f"all_to_all_single of token counts of {dispatcher.layer}"
        self._counts_U = counts_U.contiguous()
        self._counts_PF = counts_U.new_empty(len(places), self._sizes[dispatcher.mesh.expert_rank])
        self._sent_P = torch.stack([counts_U[place].sum() for place in places])

    def begin(self) -> None:
        """Send the counts, and do not wait for those of the others."""
        received = [self._counts_PF.shape[1]] * len(self._sizes)
        flat, group = self._counts_PF.view(-1), self._mesh.expert_group
        with self._mesh.collective_log.collective(self._what) as due:
            if due:
                self._work = dist.all_to_all_single(
                    flat, self._counts_U, received, self._sizes, group=group, async_op=True
                )  # fmt: skip

    def plan(self) -> DispatchPlan:
        """Wait for what the others have sent: here the layer waits for the device, and nowhere else (but for balanced
        gates)."""
        with self._mesh.collective_log.waiting(self._what):
            self._work.wait()
            sent, received = torch.stack((self._sent_P, self._counts_PF.sum(1))).tolist()
        return DispatchPlan(sent, received, self._counts_PF)


def begin_counts(counts_U: Tensor, dispatcher: TokenDispatcher) -> DispatchCounts:
    """Begin to exchange the counts of this call; when a batch is gone through once more for want of memory, those of
    before."""
    counts = dispatcher.mesh.collective_log.remembered(lambda: DispatchCounts(counts_U, dispatcher))
    counts.begin()
    return counts


class DispatchOrder:
    """The pairs of the tokens here, sorted by unit: the order in which they travel."""

    def __init__(self, pairs: Routing, num_tokens: int) -> None:
        self.order_M = pairs.experts_M.argsort(stable=True)
        self.inverse_M = inverse_permutation(self.order_M)
        self.token_M = pairs.tokens_M.index_select(0, self.order_M)
        self._first_N = first_pairs(pairs.tokens_M, num_tokens, pairs.experts_per_token)

    def rows(self, x_ND: Tensor) -> Tensor:
        """Return a row for each pair, [M, D]."""
        output: Tensor = _GatheredRows.apply(x_ND, self.token_M, self.inverse_M, self._first_N)
        return output

    def sorted_values(self, values_M: Tensor) -> Tensor:
        """Return numbers of the pairs in this order."""
        return permute_rows(values_M[:, None], self.order_M, self.inverse_M)[:, 0]

    def combine(self, output_MD: Tensor, gates_M: Tensor) -> Tensor:
        """Return ``y_n = sum of gate times output`` over the pairs of token n (eq. 1), [N, D]."""
        output_ND: Tensor = _WeightedSum.apply(
            output_MD, gates_M, self.token_M, self.order_M, self.inverse_M, self._first_N
        )
        return output_ND


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
    out, rows = rows.new_empty(sum(received), *rows.shape[1:]), rows.contiguous()
    with mesh.collective_log.collective(what) as due:
        if due:
            dist.all_to_all_single(out, rows, received, sent, group=mesh.expert_group)
    return out


class _GatheredRows(torch.autograd.Function):
    """A row for each pair, sorted by unit. Backward gathers and adds in order, without atomics."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, token_M: Tensor, inverse_M: Tensor, first_N: Tensor) -> Tensor:
        ctx.save_for_backward(inverse_M, first_N)
        return x_ND.index_select(0, token_M)

    @staticmethod
    def backward(ctx: Any, gradient_MD: Tensor) -> Any:
        inverse_M, first_N = ctx.saved_tensors
        ones_M = gradient_MD.new_ones(inverse_M.shape[0])
        return _sum_of_pairs(gradient_MD, inverse_M, first_N, ones_M), None, None, None


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, output_MD: Tensor, gates_M: Tensor, token_M: Tensor, order_M: Tensor, inverse_M: Tensor,
        first_N: Tensor,
    ) -> Tensor:  # fmt: skip
        needed_MD = output_MD if ctx.needs_input_grad[1] else output_MD[:0]
        ctx.save_for_backward(needed_MD, gates_M, token_M, order_M, inverse_M)
        return _sum_of_pairs(output_MD, inverse_M, first_N, gates_M)

    @staticmethod
    def backward(ctx: Any, gradient_ND: Tensor) -> Any:
        output_MD, gates_M, token_M, order_M, inverse_M = ctx.saved_tensors
        gradient_MD, gate_gradient_M = gradient_ND.index_select(0, token_M), None
        if ctx.needs_input_grad[1]:
            wide = torch.promote_types(torch.float32, output_MD.dtype)
            gate_gradient_M = (gradient_MD * output_MD).sum(1, dtype=wide).index_select(0, inverse_M).to(gates_M.dtype)
        sorted_gates_M1 = gates_M.to(output_MD.dtype).index_select(0, order_M).unsqueeze(1)
        return gradient_MD.mul_(sorted_gates_M1), gate_gradient_M, None, None, None, None


def _sum_of_pairs(rows_MD: Tensor, inverse_M: Tensor, first_N: Tensor, weights_M: Tensor) -> Tensor:
    if not rows_MD.shape[0]:
        return rows_MD.new_zeros(first_N.shape[0], rows_MD.shape[1])
    return gathered_sum(rows_MD, inverse_M, first_N, weights_M)
