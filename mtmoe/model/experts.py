"""The experts: many small feed-forward networks, and the one path that feeds and collects them.

Dropless: every token reaches each of its experts, so a sentence's result never depends on its neighbours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtmoe.model.gating import tokens_per_expert
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

    def forward(self, x_ND: Tensor, experts_NK: Tensor, gates_NK: Tensor) -> Tensor:
        """Eq. 1: ``y = sum_i G(x)_i E_i(x)`` over the K chosen experts of each token, [N, D] -> [N, D].

        Dispatch is a stable sort by expert; combine gathers and sums, so that the result is the same bits
        every time.
        """
        if x_ND.shape[0] == 0:
            # Every parameter stays in the graph, with a gradient of exactly zero.
            return x_ND + 0.0 * (self.first_EDH.sum() + self.second_EHD.sum()).to(x_ND.dtype)
        num_experts, k = self.first_EDH.shape[0], experts_NK.shape[1]
        order_M = experts_NK.flatten().argsort(stable=True)
        inverse_M = inverse_permutation(order_M)
        ends_E = tokens_per_expert(experts_NK, num_experts).cumsum(0).to(torch.int32)
        dispatched_MD = repeat_rows(x_ND, order_M, inverse_M, k)
        output_MD = self.apply_sorted(dispatched_MD, ends_E)
        collected_NKD = permute_rows(output_MD, inverse_M, order_M).view(-1, k, output_MD.shape[-1])
        return (collected_NKD * gates_NK[..., None].to(collected_NKD.dtype)).sum(1)

    def apply_sorted(self, x_MD: Tensor, ends_E: Tensor) -> Tensor:
        """Rows sorted by expert; expert i has the rows from ends_E[i-1] up to ends_E[i] (int32)."""
        dtype = _compute_dtype(x_MD)
        hidden_MH = F.grouped_mm(x_MD.to(dtype), self.first_EDH.to(dtype), offs=ends_E).relu()
        return F.grouped_mm(hidden_MH, self.second_EHD.to(dtype), offs=ends_E)


def _compute_dtype(x: Tensor) -> torch.dtype:
    """What autocast would choose: grouped_mm is not on its list."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def loop_over_experts(
    x_ND: Tensor, experts_NK: Tensor, gates_NK: Tensor, first_EDH: Tensor, second_EHD: Tensor
) -> Tensor:
    """Eq. 1 as it is written, expert by expert, in any precision: the reference of the fast path."""
    y_ND = torch.zeros_like(x_ND)
    for expert in range(first_EDH.shape[0]):
        gate_N1 = torch.where(experts_NK == expert, gates_NK, 0.0).sum(1, keepdim=True)
        y_ND = y_ND + gate_N1 * ((x_ND @ first_EDH[expert]).relu() @ second_EHD[expert])
    return y_ND
