"""Two levels of strictly balanced gating (paper, appendices B and F)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtmoe.model.gating.balance import tokens_per_expert
from mtmoe.model.gating.balanced import (
    BalancedGate,
    best_rows,
    in_token_order,
    renormalised,
    rows_per_expert,
    threshold_loss,
)
from mtmoe.model.gating.grouped import grouped_product, sum_by_group, take_rows_of_tokens
from mtmoe.model.gating.interface import random_weights
from mtmoe.model.routing import Routing


class HierarchicalBalancedGate(BalancedGate):
    """Strict balancing of each level by itself, which is how we read a paper that does not say (spec 4.6): every group
    gets m1 = k1 |X| / G tokens, and of these each of its L experts m2 = k2 m1 / L; each level has thresholds.

    An expert's gate is the product of the levels' gates. A token may have groups but no expert in one of them: its
    gates then sum to less than 1. Otherwise as :class:`StrictlyBalancedGate`.
    """

    def __init__(
        self,
        width: int,
        num_experts: int,
        experts_per_group: int,
        *,
        groups: int,
        groups_per_token: int,
        importance_loss_weight: float,
        threshold_loss_weight: float,
    ) -> None:
        """``experts_per_group``: k of the second level, experts of a token in each of its groups."""
        k = groups_per_token * experts_per_group
        super().__init__(num_experts, k, importance_loss_weight, threshold_loss_weight)
        self.groups_per_token, self.experts_per_group = groups_per_token, experts_per_group
        leaves = num_experts // groups
        self.gate_DG = random_weights(width, groups)
        self.gate_GDL = random_weights(groups, width, leaves)
        self.log_threshold_G = nn.Parameter(torch.zeros(groups))
        self.log_threshold_GL = nn.Parameter(torch.zeros(groups, leaves))

    @property
    def threshold_G(self) -> Tensor:
        """T of the first level."""
        return self.log_threshold_G.exp() / self.log_threshold_G.shape[0]

    @property
    def threshold_GL(self) -> Tensor:
        """T of the second level, of each group's own."""
        return self.log_threshold_GL.exp() / self.log_threshold_GL.shape[1]

    @property
    def operations(self) -> int:
        """d a + k d (n / a): there are no matrices for noise."""
        groups, width, leaves = self.gate_GDL.shape
        return width * (groups + self.groups_per_token * leaves)

    def _route(self, x_ND: Tensor) -> Routing:
        values_NG = (x_ND @ self.gate_DG).softmax(dim=1)
        return self._route_training(x_ND, values_NG) if self.training else self._route_evaluation(x_ND, values_NG)

    def _route_training(self, x_ND: Tensor, values_NG: Tensor) -> Routing:
        # Every group has P tokens and every expert m of these: all shapes are known beforehand.
        num_tokens, (num_groups, width, leaves) = x_ND.shape[0], self.gate_GDL.shape
        p = rows_per_expert(num_tokens, num_groups, self.groups_per_token)
        m = rows_per_expert(p, leaves, self.experts_per_group)
        tokens_GP, mask_NG = best_rows(values_NG, p)
        gates_GP = renormalised(values_NG, mask_NG).t().gather(1, tokens_GP)
        x_GPD = take_rows_of_tokens(x_ND, tokens_GP.flatten()).view(num_groups, p, width)
        values_GPL = torch.bmm(x_GPD, self.gate_GDL).softmax(dim=2)
        places_GLm, mask_GPL = best_rows(values_GPL, m)
        gates_GPL = renormalised(values_GPL, mask_GPL) * gates_GP[:, :, None]

        excess = threshold_loss(values_NG, self.threshold_G, mask_NG)
        excess = excess + threshold_loss(values_GPL, self.threshold_GL[:, None], mask_GPL)
        counts_E = torch.full((self.num_experts,), m, device=x_ND.device)
        balance = self._balance(gates_GPL.sum(1).flatten(), counts_E, excess, num_tokens)

        places_Gj = places_GLm.flatten(1)
        tokens_Gj = tokens_GP.gather(1, places_Gj)
        experts_Em = torch.arange(self.num_experts, device=x_ND.device)[:, None].expand(-1, m)
        gates_GLm = gates_GPL.transpose(1, 2).gather(2, places_GLm)
        return Routing(*in_token_order(tokens_Gj, experts_Em, gates_GLm), 0, counts_E, balance)

    def _route_evaluation(self, x_ND: Tensor, values_NG: Tensor) -> Routing:
        num_groups, _, leaves = self.gate_GDL.shape
        mask_NG = values_NG > self.threshold_G
        gates_NG = renormalised(values_NG, mask_NG)
        # Waits for the device, as the number of pairs is known only there: evaluation may.
        group_R, token_R = mask_NG.t().nonzero().unbind(1)
        counts_G = tokens_per_expert(group_R, num_groups)
        x_RD = take_rows_of_tokens(x_ND, token_R)
        values_RL = grouped_product(x_RD, self.gate_GDL, group_R, counts_G).softmax(dim=1)
        mask_RL = values_RL > self.threshold_GL[group_R]
        gates_RL = renormalised(values_RL, mask_RL) * gates_NG[token_R, group_R][:, None]

        row_M, leaf_M = mask_RL.nonzero().unbind(1)
        experts_M = group_R[row_M] * leaves + leaf_M
        counts_E = tokens_per_expert(experts_M, self.num_experts)
        importance_E = sum_by_group(gates_RL, group_R, counts_G).flatten()
        balance = self._balance(importance_E, counts_E, None, x_ND.shape[0])
        return Routing(*in_token_order(token_R[row_M], experts_M, gates_RL[row_M, leaf_M]), 0, counts_E, balance)
