"""Group parallelism for two levels of gating (paper, section 3.1): the gate over the groups is on all processes, and
each group with its own gate and its experts is on one process of the expert axis.

A row travels once to each of its groups, with its gate there, and not to each of its experts. And a process has the
second level's gates of its own groups alone: with thousands of experts they are the largest of what is not an expert.

Letters: Q pairs of a token and a group, M the same sorted by group, R rows that this process receives, F groups of this
process, C columns of a row.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mtmoe.distributed.all_to_all import DispatchOrder, DispatchPlan, TokenDispatcher, begin_counts
from mtmoe.distributed.mesh import Mesh
from mtmoe.model.moe.experts import Experts, compute_dtype
from mtmoe.model.moe.gating import Gate, TwoLevelGate
from mtmoe.model.moe.gating.two_levels import FirstLevel, GroupRows
from mtmoe.model.moe.moe_layer import MixtureOfExperts
from mtmoe.model.moe.routing import Balance
from mtmoe.model.ops.rows import inverse_permutation, permute_rows


class GroupDispatch:
    """Sends the tokens of a layer of two levels to their groups on all processes of the expert axis.

    All of them must call it together. The result is that of one process that has all tokens. Rows travel in the type of
    the gates with their first-level gate as one more column, outputs in that of the arithmetic.
    """

    def __init__(self, mesh: Mesh, layer: str) -> None:
        """Set between whom rows travel. ``layer`` is the layer's name, for who waits for it in vain."""
        self._dispatcher = TokenDispatcher(mesh, layer, "groups")
        self.before_call: Callable[[], None] | None = None

    def __call__(self, layer: MixtureOfExperts, x_ND: Tensor) -> tuple[Tensor, Balance]:
        """Return ``sum_i G(x)_i E_i(x)``, [N, D], and the balance.

        The vectors in ``Balance`` are of the rows that have come to the groups here: those of all processes add up to
        what all tokens have. In evaluation there are no losses.
        """
        if self.before_call is not None:
            self.before_call()
        y_ND, balance = self._exchange(layer.gate, layer.experts, x_ND)
        return y_ND, balance if layer.training else balance._replace(auxiliary_losses={})

    def take_part_without_rows(self, layer: MixtureOfExperts, dtype: torch.dtype) -> None:
        """Compute for the other processes, without rows; ``dtype`` is what theirs have before autocast."""
        stack_EDH = layer.experts.first_EDH
        x_ND = torch.zeros(0, stack_EDH.shape[1], dtype=dtype, device=stack_EDH.device)
        self._exchange(layer.gate, layer.experts, x_ND)

    def _exchange(self, gate: Gate, experts: Experts, x_ND: Tensor) -> tuple[Tensor, Balance]:
        assert isinstance(gate, TwoLevelGate)
        first = gate.first_level(x_ND)
        counts = begin_counts(first.pairs.token_counts_E, self._dispatcher)
        if self._dispatcher.mesh.collective_log.has_no_rows:
            return self._without_rows(gate, experts, x_ND, first, counts.plan())
        order = DispatchOrder(first.pairs, x_ND.shape[0])
        gates_M1 = order.sorted_values(first.pairs.gates_M)[:, None]
        sent_MC = torch.cat((order.rows(gate.in_own_type(x_ND)), gates_M1), dim=1)
        keys_M = first.keys_Q.index_select(0, order.order_M) if first.keys_Q is not None else None
        plan = counts.plan()
        received_RC = self._dispatcher.dispatch(sent_MC, plan)
        del sent_MC
        keys_R = self._keys(keys_M, plan)

        group_R = plan.units_R()
        order_R = group_R.argsort(stable=True)  # from by process, to by group
        inverse_R = inverse_permutation(order_R)
        x_RD, gates_R1 = received_RC.split([x_ND.shape[1], 1], dim=1)
        x_RD = permute_rows(x_RD, order_R, inverse_R)
        gates_R = permute_rows(gates_R1, order_R, inverse_R)[:, 0]
        del received_RC, gates_R1
        keys_R = keys_R.index_select(0, order_R) if keys_R is not None else None
        group_R = group_R.index_select(0, order_R)
        second = gate.second_level(GroupRows(x_RD, gates_R, group_R, plan.counts_F, keys_R, first.rows_per_group))
        balance = gate.balance(first, second)
        output_RD = permute_rows(experts(x_RD, second.pairs), inverse_R, order_R)
        output_MD = self._dispatcher.send_back(output_RD, plan)
        return order.combine(output_MD, torch.ones_like(first.pairs.gates_M, requires_grad=False)), balance

    def _keys(self, keys_M: Tensor | None, plan: DispatchPlan) -> Tensor | None:
        return self._dispatcher.dispatch(keys_M, plan, "noise keys") if keys_M is not None else None

    def _without_rows(
        self, gate: TwoLevelGate, experts: Experts, x_ND: Tensor, first: FirstLevel, plan: DispatchPlan
    ) -> tuple[Tensor, Balance]:
        """Go through the collectives that the others expect, forward and backward, with rows that nobody will use."""
        dtype, own_type = compute_dtype(x_ND), gate.in_own_type(x_ND)
        num_sent, num_columns = sum(plan.sent), x_ND.shape[1] + 1
        nothing = own_type.sum() * 0.0  # through which the gradient must come
        received_RC = self._dispatcher.dispatch(nothing.expand(num_sent, num_columns), plan)
        self._keys(first.keys_Q.new_zeros(num_sent) if first.keys_Q is not None else None, plan)
        none, no_counts_F = first.pairs.tokens_M[:0], torch.zeros_like(plan.counts_F)
        no_keys = none if first.keys_Q is not None else None
        second = gate.second_level(
            GroupRows(own_type[:0], own_type.new_zeros(0), none, no_counts_F, no_keys, first.rows_per_group)
        )
        balance = gate.balance(first, second)
        # Gradients of zero, which come when those of the others do: their sums may begin in this pass.
        zero = 0.0 * (experts.first_EDH[:0].sum() + experts.second_EHD[:0].sum() + second.pairs.gates_M.sum())
        output_MD = self._dispatcher.send_back((received_RC[:, :-1] + zero).to(dtype), plan)
        return x_ND.to(dtype) + output_MD.sum().to(dtype), balance
