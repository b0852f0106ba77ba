"""Two levels of top-k gating, with noise or without (paper, appendix B).

Letters: G groups, L experts of a group, F groups that are here, Q pairs of a token and one of its groups, R rows of the
groups that are here, M pairs of a row and one of its experts, J logits and noise scales of L experts side by side.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mtmoe.model.moe.gating.gate import random_weights
from mtmoe.model.moe.gating.grouped_rows import grouped_product, sum_by_group
from mtmoe.model.moe.gating.load_balancing import EPSILON, squared_variation, tokens_per_expert
from mtmoe.model.moe.gating.scored import Score, choose_by_score
from mtmoe.model.moe.gating.top_k import Choice, choose_top_k, dense_gates, noise_scale, repeated_tokens
from mtmoe.model.moe.gating.two_levels import FirstLevel, GroupRows, SecondLevel, TwoLevelGate
from mtmoe.model.moe.layer_parallelism import ONE_PROCESS_LAYER, LayerParallelism
from mtmoe.model.moe.routing import Balance, Routing
from mtmoe.model.ops.keyed_noise import TokenNoise, normal_of_keys


class HierarchicalGate(TwoLevelGate):
    """Top-k of the groups, and in each of them top-k of its experts; a gate is the product of both, times ``scale``.

    Importance and load are eqs. 13 and 14, and the losses CV^2 over all G x L experts; the first level has none of its
    own (`docs/explanation/paper.md#decision-7`).

    noise_floor: None for the softmax and the sigmoid gate, which have no noise and no load loss; their load is the
    count. score: of both levels, where there is no noise.
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
        load_loss_weight: float = 0.0,
        noise_floor: float | None,
        z_loss_weight: float = 0.0,
        score: Score = "softmax",
        scale: float = 1.0,
        parallelism: LayerParallelism = ONE_PROCESS_LAYER,
        noise: TokenNoise | None = None,
    ) -> None:
        """Build the gates of both levels; a token is sent to ``top_k_in_group`` experts in each of its groups."""
        super().__init__(num_experts, groups_per_token * top_k_in_group, parallelism, noise, z_loss_weight)
        self.score, self.scale = score, scale
        self._set_levels(groups, groups_per_token, top_k_in_group)
        self.importance_loss_weight = importance_loss_weight
        self.load_loss_weight = load_loss_weight
        self.noise_floor = noise_floor
        if noise_floor is None:
            self.gate_DG = random_weights(width, groups)
            self.gate_GDL = random_weights(groups, width, self.experts_per_group, shard=self.group_shard)
        else:  # zeros (app. A), as in the flat gate
            num_here = self.group_shard.stop - self.group_shard.start
            self.gate_DG = nn.Parameter(torch.zeros(width, groups))
            self.noise_DG = nn.Parameter(torch.zeros(width, groups))
            self.gate_GDL = nn.Parameter(torch.zeros(num_here, width, self.experts_per_group))
            self.noise_GDL = nn.Parameter(torch.zeros(num_here, width, self.experts_per_group))

    def expert_parameters(self) -> tuple[str, ...]:
        """Return the names of the second level's matrices, which are stacked over groups."""
        return ("gate_GDL",) if self.noise_floor is None else ("gate_GDL", "noise_GDL")

    @property
    def noise_operations(self) -> int:
        """Return the multiply-adds with the noise's matrices, which are as large as the others."""
        return 0 if self.noise_floor is None else self.operations // 2

    @property
    def operations(self) -> int:
        """Return 2 d a + k 2 d (n / a), or half of it without noise."""
        matrices = 1 if self.noise_floor is None else 2
        return matrices * self.gate_DG.shape[0] * (self.num_groups + self.groups_per_token * self.experts_per_group)

    @property
    def _draws_noise(self) -> bool:
        return self.training and self.noise_floor is not None

    def _choose_groups(self, x_ND: Tensor) -> FirstLevel:
        k1, clean_NG, std_NG = self.groups_per_token, x_ND @ self.gate_DG, None
        if self.training and self.noise_floor is not None:
            std_NG = noise_scale(x_ND @ self.noise_DG, self.noise_floor)
        choice = self._choose(clean_NG, std_NG, k1, self._normal)
        tokens_Q, groups_Q = repeated_tokens(x_ND.shape[0], k1, x_ND.device), choice.experts_RK.flatten()
        keys_Q = self._row_keys(tokens_Q, groups_Q) if self._draws_noise else None
        counts_G = tokens_per_expert(groups_Q, self.num_groups)
        tokens_G = counts_G.to(clean_NG.dtype)
        load_G = tokens_G if choice.probability_RE is None else choice.probability_RE.sum(0)
        pairs = Routing(tokens_Q, groups_Q, choice.gates_RK.flatten(), k1, counts_G, None)
        return FirstLevel(pairs, keys_Q, 0, (load_G, tokens_G, *self._z_sums(clean_NG)))

    def _choose(
        self, clean_RE: Tensor, std_RE: Tensor | None, k: int, normal: Callable[[Tensor], Tensor] | None = None
    ) -> Choice:
        if self.score == "sigmoid":
            return choose_by_score(clean_RE, k, self.score)
        return choose_top_k(clean_RE, std_RE, k, normal)

    def _choose_experts(self, rows: GroupRows) -> SecondLevel:
        num_groups, _, experts_per_group = self.gate_GDL.shape
        group_R, k2 = rows.group_R, self.top_k_in_group
        choice, clean_RL = self._choose_in_groups(rows)
        gates_RK = choice.gates_RK * rows.gates_R[:, None]
        gates_RK = gates_RK * self.scale if self.scale != 1 else gates_RK
        experts_RK = group_R[:, None] * experts_per_group + choice.experts_RK
        token_counts_E = tokens_per_expert(experts_RK, num_groups * experts_per_group)
        gates_RL = dense_gates(choice.experts_RK, gates_RK, experts_per_group)
        importance_FL = sum_by_group(gates_RL, group_R, rows.counts_F)
        load_FL = token_counts_E.view(num_groups, experts_per_group).to(gates_RK.dtype)
        if choice.probability_RE is not None:
            load_FL = sum_by_group(choice.probability_RE, group_R, rows.counts_F)
        tokens_M = repeated_tokens(group_R.shape[0], k2, group_R.device)
        pairs = Routing(tokens_M, experts_RK.flatten(), gates_RK.flatten(), k2, token_counts_E, None)
        return SecondLevel(pairs, importance_FL, (load_FL, *self._z_sums(clean_RL)))

    def _choose_in_groups(self, rows: GroupRows) -> tuple[Choice, Tensor]:
        """Return the choice and the logits without noise."""
        if not self.training or self.noise_floor is None:
            clean_RL = grouped_product(rows.x_RD, self.gate_GDL, rows.group_R, rows.counts_F)
            return self._choose(clean_RL, None, self.top_k_in_group), clean_RL
        # One product for both: the rows are read once.
        weights_GDJ = torch.cat((self.gate_GDL, self.noise_GDL), dim=2)
        both_RJ = grouped_product(rows.x_RD, weights_GDJ, rows.group_R, rows.counts_F)
        clean_RL, raw_RL = both_RJ.chunk(2, dim=1)
        keys_R = rows.keys_R
        normal = torch.randn_like if keys_R is None else lambda like_RL: normal_of_keys(keys_R, like_RL)
        return self._choose(clean_RL, noise_scale(raw_RL, self.noise_floor), self.top_k_in_group, normal), clean_RL

    def balance(self, first: FirstLevel, second: SecondLevel) -> Balance:
        """Return balance and losses of both levels.

        Eq. 14 is a product of sums over the batch: its factors are summed over processes, not its value; ``load_E`` is
        what of it falls to each process.
        """
        first_load_G, tokens_G, *z_of_groups = first.sums
        load_in_group_FL, *z_in_groups = second.sums
        importance_GL = self._of_all(second.importance_FL)
        token_counts_E = self._of_all(second.pairs.token_counts_E.view(second.importance_FL.shape)).flatten()
        sums = importance_GL, first_load_G, self._of_all(load_in_group_FL), tokens_G, tokens_G.new_ones(1)
        importance, first_load, load_in_group, tokens, num_processes, *of_z = self._reduced(
            *sums, *z_of_groups, *z_in_groups
        )
        chosen_from = self.groups_per_token < self.num_groups or self.top_k_in_group < self.experts_per_group
        is_smooth = self._draws_noise and chosen_from
        losses = {"importance": self.importance_loss_weight * squared_variation(importance.flatten())}
        load_E = token_counts_E.to(tokens_G.dtype)
        if is_smooth:
            load_E = smooth_load(first_load, load_in_group, tokens).flatten()
        if self.noise_floor is not None:
            losses["load"] = self.load_loss_weight * squared_variation(load_E) if is_smooth else load_E.new_zeros(())
        if is_smooth:
            load_E = load_E / num_processes
        losses |= self._z_losses(tuple(of_z))
        return Balance(importance_GL.flatten(), load_E, token_counts_E, losses)


def smooth_load(first_load_G: Tensor, load_in_group_GL: Tensor, tokens_G: Tensor) -> Tensor:
    """Compute ``Load_primary(X)_i Load_i(X_i)_j / |X_i|`` (eq. 14); zero for a group without tokens
    (`docs/explanation/paper.md#decision-8`)."""
    return first_load_G[:, None] * load_in_group_GL / (tokens_G[:, None] + EPSILON)
