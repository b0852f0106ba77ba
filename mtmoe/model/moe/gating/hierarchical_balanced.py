"""Two levels of strictly balanced gating (paper, appendices B and F).

Letters: G groups, L experts of a group, F groups that are here, Q pairs of a token and one of its groups, R rows of the
groups that are here, M pairs of a row and one of its experts, P rows of each group, C best rows of an expert, J best
rows of all experts of a group.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtmoe.model.moe.gating.balanced import (
    BalancedGate,
    best_rows,
    best_rows_of_all,
    in_token_order,
    renormalised,
    rows_per_expert,
    threshold_loss,
)
from mtmoe.model.moe.gating.gate import random_weights
from mtmoe.model.moe.gating.grouped_rows import grouped_product, sum_by_group, take_rows_of_tokens
from mtmoe.model.moe.gating.load_balancing import tokens_per_expert
from mtmoe.model.moe.gating.two_levels import FirstLevel, GroupRows, SecondLevel, TwoLevelGate
from mtmoe.model.moe.layer_parallelism import ONE_PROCESS_LAYER, LayerParallelism
from mtmoe.model.moe.routing import Balance, Routing


class HierarchicalBalancedGate(TwoLevelGate, BalancedGate):
    """Strict balancing of each level by itself, as the paper does not say (`docs/explanation/paper.md#decision-11`):
    every group gets m1 = k1 |X| / G tokens, and of these each of its L experts m2 = k2 m1 / L; each level has
    thresholds.

    A token may have groups but no expert in one of them: its gates then sum to less than 1. Otherwise as
    :class:`StrictlyBalancedGate`.
    """

    def __init__(
        self,
        width: int,
        num_experts: int,
        top_k_in_group: int,
        *,
        groups: int,
        groups_per_token: int,
        importance_loss_weight: float,
        threshold_loss_weight: float,
        z_loss_weight: float = 0.0,
        parallelism: LayerParallelism = ONE_PROCESS_LAYER,
    ) -> None:
        """Build the gates of both levels; a token is sent to ``top_k_in_group`` experts, on average, in each of its
        groups."""
        k = groups_per_token * top_k_in_group
        BalancedGate.__init__(
            self, num_experts, k, importance_loss_weight, threshold_loss_weight, parallelism, z_loss_weight
        )
        self._set_levels(groups, groups_per_token, top_k_in_group)
        self.gate_DG = random_weights(width, groups)
        self.gate_GDL = random_weights(groups, width, self.experts_per_group, shard=self.group_shard)
        self.log_threshold_G = nn.Parameter(torch.zeros(groups))
        self.log_threshold_GL = nn.Parameter(
            torch.zeros(self.group_shard.stop - self.group_shard.start, self.experts_per_group)
        )

    def expert_parameters(self) -> tuple[str, ...]:
        """Return the names of the second level's matrices and thresholds, which are stacked over groups."""
        return ("gate_GDL", "log_threshold_GL")

    @property
    def threshold_G(self) -> Tensor:
        """Return T of the first level."""
        return self.log_threshold_G.exp() / self.num_groups

    @property
    def threshold_GL(self) -> Tensor:
        """Return T of the second level, of each of the groups that are here."""
        return self.log_threshold_GL.exp() / self.experts_per_group

    @property
    def operations(self) -> int:
        """Return d a + k d (n / a): there are no matrices for noise."""
        return self.gate_DG.shape[0] * (self.num_groups + self.groups_per_token * self.experts_per_group)

    def _route(self, x_ND: Tensor) -> Routing:
        is_alone = self.training and self.parallelism.global_rows is None
        return self._route_training(x_ND) if is_alone else super()._route(x_ND)

    def _route_training(self, x_ND: Tensor) -> Routing:
        # Every group has P tokens and every expert m of these: all shapes are known beforehand.
        logits_NG = x_ND @ self.gate_DG
        values_NG = logits_NG.softmax(dim=1)
        num_tokens, (num_groups, width, experts_per_group) = x_ND.shape[0], self.gate_GDL.shape
        p = rows_per_expert(num_tokens, num_groups, self.groups_per_token)
        m = rows_per_expert(p, experts_per_group, self.top_k_in_group)
        tokens_GP, mask_NG = best_rows(values_NG, p)
        gates_GP = renormalised(values_NG, mask_NG).t().gather(1, tokens_GP)
        x_GPD = take_rows_of_tokens(x_ND, tokens_GP.flatten()).view(num_groups, p, width)
        logits_GPL = torch.bmm(x_GPD, self.gate_GDL)
        values_GPL, of_z = logits_GPL.softmax(dim=2), (*self._z_sums(logits_NG), *self._z_sums(logits_GPL))
        places_GLC, mask_GPL = best_rows(values_GPL, m)
        gates_GPL = renormalised(values_GPL, mask_GPL) * gates_GP[:, :, None]

        excess = threshold_loss(values_NG, self.threshold_G, mask_NG)
        excess = excess + threshold_loss(values_GPL, self.threshold_GL[:, None], mask_GPL)
        token_counts_E = torch.full((self.num_experts,), m, device=x_ND.device)
        balance = self._balance(gates_GPL.sum(1).flatten(), token_counts_E, excess, num_tokens, of_z)

        places_GJ = places_GLC.flatten(1)
        tokens_GJ = tokens_GP.gather(1, places_GJ)
        experts_EC = torch.arange(self.num_experts, device=x_ND.device)[:, None].expand(-1, m)
        gates_GLC = gates_GPL.transpose(1, 2).gather(2, places_GLC)
        return Routing(*in_token_order(tokens_GJ, experts_EC, gates_GLC), None, token_counts_E, balance)

    # Level by level the numbers of pairs are known on the device alone, for which this waits: in evaluation, and of one
    # process among several.

    def _choose_groups(self, x_ND: Tensor) -> FirstLevel:
        logits_NG, rows_per_group = x_ND @ self.gate_DG, 0
        values_NG = logits_NG.softmax(dim=1)
        num_tokens, excess = x_ND.new_full((), x_ND.shape[0]), x_ND.new_zeros(())
        if self.training:
            mask_NG, rows_per_group = self._best_tokens(values_NG)
            excess = threshold_loss(values_NG, self.threshold_G, mask_NG)
        else:
            mask_NG = values_NG > self.threshold_G
        gates_NG = renormalised(values_NG, mask_NG)
        tokens_Q, groups_Q = mask_NG.nonzero().unbind(1)
        gates_Q = gates_NG.flatten().index_select(0, tokens_Q * self.num_groups + groups_Q)
        pairs = Routing(tokens_Q, groups_Q, gates_Q, None, tokens_per_expert(groups_Q, self.num_groups), None)
        # Gates that are not a number are above no threshold; the sum shows them all the same.
        not_a_number = 0.0 * values_NG.detach().sum()
        sums = excess, num_tokens, not_a_number, *self._z_sums(logits_NG)
        return FirstLevel(pairs, None, rows_per_group, sums)

    def _best_tokens(self, values_NG: Tensor) -> tuple[Tensor, int]:
        """Return eq. 18 of the first level, and how many tokens of the batch each group gets."""
        global_rows = self.parallelism.global_rows
        assert global_rows is not None, "one process alone takes both levels at once"
        num_tokens, most = global_rows.count(values_NG.shape[0])
        p = rows_per_expert(num_tokens, self.num_groups, self.groups_per_token)
        return best_rows_of_all(values_NG, p, most, global_rows), p

    def _choose_experts(self, rows: GroupRows) -> SecondLevel:
        num_groups, _, experts_per_group = self.gate_GDL.shape
        group_R, counts_F = rows.group_R, rows.counts_F
        logits_RL = grouped_product(rows.x_RD, self.gate_GDL, group_R, counts_F)
        values_RL = logits_RL.softmax(dim=1)
        threshold_RL, excess = self.threshold_GL.index_select(0, group_R), values_RL.new_zeros(())
        if self.training:
            mask_RL = self._best_rows_of_groups(values_RL, rows)
            excess = threshold_loss(values_RL, threshold_RL, mask_RL)
        else:
            mask_RL = values_RL > threshold_RL
        gates_RL = renormalised(values_RL, mask_RL) * rows.gates_R[:, None]
        row_M, place_M = mask_RL.nonzero().unbind(1)
        experts_M = group_R.index_select(0, row_M) * experts_per_group + place_M
        gates_M = gates_RL.flatten().index_select(0, row_M * experts_per_group + place_M)
        pairs = Routing(
            row_M, experts_M, gates_M, None, tokens_per_expert(experts_M, num_groups * experts_per_group), None
        )
        return SecondLevel(pairs, sum_by_group(gates_RL, group_R, counts_F), (excess, *self._z_sums(logits_RL)))

    def _best_rows_of_groups(self, values_RL: Tensor, rows: GroupRows) -> Tensor:
        """Return eq. 18 of the second level: each expert has m of its group's rows on all processes."""
        group_R, counts_F, p = rows.group_R, rows.counts_F, rows.rows_per_group
        m = rows_per_expert(p, values_RL.shape[1], self.top_k_in_group)
        place_R = torch.arange(group_R.shape[0], device=group_R.device) - (counts_F.cumsum(0) - counts_F)[group_R]
        rows_of_same_groups = self.parallelism.rows_of_same_groups
        num_places = int(counts_F.max()) if rows_of_same_groups is not None else p
        values_FPL = values_RL.new_full((counts_F.shape[0], num_places, values_RL.shape[1]), -torch.inf)
        values_FPL[group_R, place_R] = values_RL.detach()
        if rows_of_same_groups is None:  # every group has all its rows here
            return best_rows(values_FPL, m)[1][group_R, place_R]
        return best_rows_of_all(values_FPL, m, p, rows_of_same_groups)[group_R, place_R]

    def balance(self, first: FirstLevel, second: SecondLevel) -> Balance:
        """Return balance and losses of both levels."""
        excess, num_tokens, not_a_number, *z_of_groups = first.sums
        excess_in_groups, *z_in_groups = second.sums
        importance_E = self._of_all(second.importance_FL).flatten() + not_a_number
        token_counts_E = self._of_all(second.pairs.token_counts_E.view(second.importance_FL.shape)).flatten()
        excess_of_both = excess + excess_in_groups if self.training else None
        return self._balance(importance_E, token_counts_E, excess_of_both, num_tokens, (*z_of_groups, *z_in_groups))
