"""Two levels of strictly balanced gating (paper, appendices B and F)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mtmoe.model.gating.balance import tokens_per_expert
from mtmoe.model.gating.balanced import (
    BalancedGate,
    OtherProcesses,
    best_rows,
    best_rows_of_all,
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
        if not self.training:
            return self._route_by_masks(x_ND, values_NG, _Thresholds(self.threshold_G, self.threshold_GL))
        if self.others is not None:
            return self._route_by_masks(x_ND, values_NG, self._quotas(x_ND.shape[0], self.others))
        return self._route_training(x_ND, values_NG)

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

    def _quotas(self, num_tokens: int, others: OtherProcesses) -> _Quotas:
        num_tokens, most = others.count(num_tokens)
        num_groups, _, leaves = self.gate_GDL.shape
        p = rows_per_expert(num_tokens, num_groups, self.groups_per_token)
        return _Quotas(p, rows_per_expert(p, leaves, self.experts_per_group), most, others)

    def _route_by_masks(self, x_ND: Tensor, values_NG: Tensor, masks: _Thresholds | _Quotas) -> Routing:
        """Where the numbers of pairs are known on the device alone, for which this waits: in evaluation, and of one
        process among several."""
        num_groups, _, leaves = self.gate_GDL.shape
        mask_NG = masks.of_groups(values_NG)
        gates_NG = renormalised(values_NG, mask_NG)
        group_R, token_R = mask_NG.t().nonzero().unbind(1)
        counts_G = tokens_per_expert(group_R, num_groups)
        x_RD = take_rows_of_tokens(x_ND, token_R)
        values_RL = grouped_product(x_RD, self.gate_GDL, group_R, counts_G).softmax(dim=1)
        mask_RL = masks.of_leaves(values_RL, group_R, counts_G)
        gates_R = gates_NG.flatten().index_select(0, token_R * num_groups + group_R)
        gates_RL = renormalised(values_RL, mask_RL) * gates_R[:, None]

        excess = None
        if self.training:
            excess = threshold_loss(values_NG, self.threshold_G, mask_NG)
            excess = excess + threshold_loss(values_RL, self.threshold_GL.index_select(0, group_R), mask_RL)
        row_M, leaf_M = mask_RL.nonzero().unbind(1)
        experts_M = group_R[row_M] * leaves + leaf_M
        counts_E = tokens_per_expert(experts_M, self.num_experts)
        # Gates that are not a number are above no threshold; the sum shows them all the same.
        importance_E = sum_by_group(gates_RL, group_R, counts_G).flatten() + 0.0 * values_NG.detach().sum()
        balance = self._balance(importance_E, counts_E, excess, x_ND.shape[0])
        gates_M = gates_RL.flatten().index_select(0, row_M * leaves + leaf_M)
        return Routing(*in_token_order(token_R[row_M], experts_M, gates_M), 0, counts_E, balance)


class _Thresholds(NamedTuple):
    """Eq. 19 at both levels."""

    threshold_G: Tensor
    threshold_GL: Tensor

    def of_groups(self, values_NG: Tensor) -> Tensor:
        return values_NG > self.threshold_G

    def of_leaves(self, values_RL: Tensor, group_R: Tensor, counts_G: Tensor) -> Tensor:
        return values_RL > self.threshold_GL[group_R]


class _Quotas(NamedTuple):
    """Eq. 18 at both levels, over the rows of all processes; ``most``: the most tokens that any has."""

    tokens_per_group: int
    tokens_per_expert: int
    most: int
    others: OtherProcesses

    def of_groups(self, values_NG: Tensor) -> Tensor:
        return best_rows_of_all(values_NG, self.tokens_per_group, self.most, self.others)

    def of_leaves(self, values_RL: Tensor, group_R: Tensor, counts_G: Tensor) -> Tensor:
        place_R = torch.arange(group_R.shape[0], device=group_R.device) - (counts_G.cumsum(0) - counts_G)[group_R]
        shape = (counts_G.shape[0], int(counts_G.max()), values_RL.shape[1])
        values_GPL = values_RL.new_full(shape, -torch.inf)
        values_GPL[group_R, place_R] = values_RL.detach()
        return best_rows_of_all(values_GPL, self.tokens_per_expert, self.most, self.others)[group_R, place_R]
