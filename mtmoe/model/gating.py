"""Which experts a token is sent to, and how evenly a batch uses them (paper, sections 2 and 3).

All in float32, outside autocast; only real tokens come in, so padding takes no part in any sum.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtmoe.model.routing import Balance, Routing

_EPSILON = 1e-10


def squared_variation(values_E: Tensor) -> Tensor:
    """CV^2 = variance / mean^2 with the population variance (spec 8, row 5)."""
    mean = values_E.mean()
    return (values_E - mean).square().mean() / (mean.square() + _EPSILON)


class NoisyTopKGate(nn.Module):
    """Noisy top-k gating (eqs. 3-5); importance and load losses (eqs. 6-11).

    The noise is drawn in training only; without it, or when every expert is chosen, the load is the plain
    count and has no loss (spec 8, rows 1 and 4). Membership goes by the indices of top-k, so that ties do
    not admit a k+1st expert (row 2).
    """

    def __init__(
        self,
        width: int,
        num_experts: int,
        experts_per_token: int,
        *,
        importance_loss_weight: float,
        load_loss_weight: float,
        noise_floor: float,
    ) -> None:
        super().__init__()
        self.experts_per_token = experts_per_token
        self.importance_loss_weight = importance_loss_weight
        self.load_loss_weight = load_loss_weight
        self.noise_floor = noise_floor
        # Zeros (app. A): no signal and equal noise, hence nearly equal load at the start.
        self.gate_DE = nn.Parameter(torch.zeros(width, num_experts))
        self.noise_DE = nn.Parameter(torch.zeros(width, num_experts))

    def forward(self, x_ND: Tensor) -> Routing:
        """Route N tokens, x_ND of any float type."""
        with torch.autocast(x_ND.device.type, enabled=False):
            return self._route(x_ND if x_ND.dtype == torch.float64 else x_ND.float())

    def _route(self, x_ND: Tensor) -> Routing:
        num_experts, k = self.gate_DE.shape[1], self.experts_per_token
        clean_NE = x_ND @ self.gate_DE
        noisy = self.training and k < num_experts
        if self.training:
            std_NE = F.softplus(x_ND @ self.noise_DE) + self.noise_floor
            logits_NE = clean_NE + torch.randn_like(clean_NE) * std_NE
        else:
            std_NE, logits_NE = None, clean_NE
        top_NM, indices_NM = logits_NE.topk(min(k + 1, num_experts), dim=1)
        gates_NK, experts_NK = top_NM[:, :k].softmax(dim=1), indices_NM[:, :k]

        # Scattered and summed rather than added by index: the same bits every time on a GPU, too.
        importance_E = torch.zeros_like(clean_NE).scatter(1, experts_NK, gates_NK).sum(0)
        counts_E = tokens_per_expert(experts_NK, num_experts)
        if noisy and std_NE is not None:
            load_E = probability_in_top_k(clean_NE, std_NE, top_NM, experts_NK).sum(0)
            load_loss = self.load_loss_weight * squared_variation(load_E)
        else:
            load_E = counts_E.to(importance_E.dtype)
            load_loss = importance_E.new_zeros(())
        importance_loss = self.importance_loss_weight * squared_variation(importance_E)
        losses = {"importance": importance_loss, "load": load_loss}
        tokens_NK = torch.arange(clean_NE.shape[0], device=clean_NE.device)[:, None].expand(-1, k)
        balance = Balance(importance_E, load_E, counts_E, losses)
        return Routing(tokens_NK.flatten(), experts_NK.flatten(), gates_NK.flatten(), k, counts_E, balance)


def probability_in_top_k(clean_NE: Tensor, std_NE: Tensor, top_NM: Tensor, experts_NK: Tensor) -> Tensor:
    """P(x, i) of eqs. 8-9: that expert i is among the k best if only its own noise were drawn again.

    ``top_NM`` are the k+1 largest noisy logits. The threshold that excludes i itself is the k+1st of them
    where i is in, and the kth where it is out.
    """
    k = experts_NK.shape[1]
    inside_NE = torch.zeros_like(clean_NE, dtype=torch.bool).scatter_(1, experts_NK, True)
    threshold_NE = torch.where(inside_NE, top_NM[:, k : k + 1], top_NM[:, k - 1 : k])
    return torch.special.ndtr((clean_NE - threshold_NE) / std_NE)


def tokens_per_expert(experts_NK: Tensor, num_experts: int) -> Tensor:
    """Counts, int64 [E]. Integers, hence the same in any order of addition; bincount would wait for the GPU."""
    chosen_M = experts_NK.flatten()
    counts_E = torch.zeros(num_experts, dtype=torch.int64, device=chosen_M.device)
    return counts_E.scatter_add_(0, chosen_M, torch.ones_like(chosen_M))
