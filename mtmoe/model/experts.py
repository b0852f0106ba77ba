"""The experts: many small feed-forward networks, and the one path that feeds and collects them.

Dropless: every token reaches each of its experts, so a sentence's result never depends on its neighbours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtmoe.model.routing import Routing
from mtmoe.model.rows import inverse_permutation, permute_rows, repeat_rows


class Experts(nn.Module):
    """``E_i(x) = relu(x W1_i) W2_i``, without biases (spec 1.3); parameters stacked over experts."""

    def __init__(self, num_experts: int, width: int, hidden: int) -> None:
        super().__init__()
        self.first_EDH = nn.Parameter(torch.empty(num_experts, width, hidden))
        self.second_EHD = nn.Parameter(torch.empty(num_experts, hidden, width))
        for stack in (self.first_EDH, self.second_EHD):
            for matrix in stack.detach():  # Glorot, one matrix at a time: the stack is not one big layer
                nn.init.xavier_uniform_(matrix)

    def forward(self, x_ND: Tensor, routing: Routing) -> Tensor:
        """Eq. 1: ``y = sum_i G(x)_i E_i(x)`` over the chosen experts of each token, [N, D] -> [N, D].

        Dispatch is a stable sort by expert; combine gathers and sums, so that the result is the same bits
        every time.
        """
        if routing.tokens_M.shape[0] == 0:
            # Every parameter stays in the graph, with a gradient of exactly zero.
            return 0.0 * (x_ND + (self.first_EDH.sum() + self.second_EHD.sum()).to(x_ND.dtype))
        k = routing.experts_per_token
        order_M = routing.experts_M.argsort(stable=True)
        inverse_M = inverse_permutation(order_M)
        ends_E = routing.counts_E.cumsum(0).to(torch.int32)
        if k == 0:
            dispatched_MD = x_ND.index_select(0, routing.tokens_M.index_select(0, order_M))
        else:
            dispatched_MD = repeat_rows(x_ND, order_M, inverse_M, k)
        output_MD = self.apply_sorted(dispatched_MD, ends_E)
        collected_MD = permute_rows(output_MD, inverse_M, order_M)
        collected_MD = collected_MD * routing.gates_M[:, None].to(collected_MD.dtype)
        if k == 0:  # correct for any number of pairs, and slow
            y_ND = collected_MD.new_zeros(x_ND.shape[0], collected_MD.shape[1])
            return y_ND.index_add(0, routing.tokens_M, collected_MD)
        return collected_MD.view(-1, k, output_MD.shape[-1]).sum(1)

    def apply_sorted(self, x_MD: Tensor, ends_E: Tensor) -> Tensor:
        """Rows sorted by expert; expert i has the rows from ends_E[i-1] up to ends_E[i] (int32)."""
        dtype = _compute_dtype(x_MD)
        hidden_MH = F.grouped_mm(x_MD.to(dtype), self.first_EDH.to(dtype), offs=ends_E).relu()
        return F.grouped_mm(hidden_MH, self.second_EHD.to(dtype), offs=ends_E)


def _compute_dtype(x: Tensor) -> torch.dtype:
    """What autocast would choose: grouped_mm is not on its list."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def loop_over_experts(x_ND: Tensor, routing: Routing, first_EDH: Tensor, second_EHD: Tensor) -> Tensor:
    """Eq. 1 as it is written, expert by expert, in any precision: the reference of the fast path."""
    y_ND = torch.zeros_like(x_ND)
    for expert in range(first_EDH.shape[0]):
        gate_M = torch.where(routing.experts_M == expert, routing.gates_M, 0.0)
        gate_N = gate_M.new_zeros(x_ND.shape[0]).index_add(0, routing.tokens_M, gate_M)
        y_ND = y_ND + gate_N[:, None] * ((x_ND @ first_EDH[expert]).relu() @ second_EHD[expert])
    return y_ND
