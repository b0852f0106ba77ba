"""Two levels of top-k gating, with noise or without (paper, appendix B)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from mtmoe.model.gating.balance import EPSILON, squared_variation, tokens_per_expert
from mtmoe.model.gating.grouped import grouped_product, sum_by_group
from mtmoe.model.gating.interface import Gate, random_weights
from mtmoe.model.gating.top_k import Choice, choose_top_k, dense_gates, noise_scale, repeated_tokens
from mtmoe.model.routing import Balance, Routing
from mtmoe.model.rows import inverse_permutation, permute_rows, repeat_rows


class HierarchicalGate(Gate):
    """A gate over G groups, and in each group a gate over its L experts that sees the group's tokens alone (eq. 12).

    An expert's gate is the product of the two, its number ``group * L + place in the group``. Importance and load are
    eqs. 13 and 14, and the losses CV^2 over all G x L experts; the first level has none of its own (spec 8, row 7).
    Nothing is as large as [tokens, experts]: the second level works on [tokens x groups_per_token, L].

    noise_floor: None for the softmax gate, which has no noise and no load loss; its load is the count.
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
        load_loss_weight: float = 0.0,
        noise_floor: float | None,
    ) -> None:
        """``experts_per_group``: k of the second level, experts of a token in each of its groups."""
        super().__init__(num_experts, groups_per_token * experts_per_group)
        self.groups_per_token, self.experts_per_group = groups_per_token, experts_per_group
        self.importance_loss_weight = importance_loss_weight
        self.load_loss_weight = load_loss_weight
        self.noise_floor = noise_floor
        leaves = num_experts // groups
        if noise_floor is None:
            self.gate_DG = random_weights(width, groups)
            self.gate_GDL = random_weights(groups, width, leaves)
        else:  # zeros (app. A), as in the flat gate
            self.gate_DG = nn.Parameter(torch.zeros(width, groups))
            self.noise_DG = nn.Parameter(torch.zeros(width, groups))
            self.gate_GDL = nn.Parameter(torch.zeros(groups, width, leaves))
            self.noise_GDL = nn.Parameter(torch.zeros(groups, width, leaves))

    @property
    def operations(self) -> int:
        """2 d a + k 2 d (n / a), or half of it without noise."""
        groups, width, leaves = self.gate_GDL.shape
        matrices = 1 if self.noise_floor is None else 2
        return matrices * width * (groups + self.groups_per_token * leaves)

    def _route(self, x_ND: Tensor) -> Routing:
        (num_groups, _, leaves), k1 = self.gate_GDL.shape, self.groups_per_token
        first = self._choose_groups(x_ND)
        counts_G = tokens_per_expert(first.experts_RK, num_groups)
        order_R = first.experts_RK.flatten().argsort(stable=True)
        inverse_R = inverse_permutation(order_R)
        group_R = first.experts_RK.flatten().index_select(0, order_R)
        x_RD, token_R = repeat_rows(x_ND, order_R, inverse_R, k1), order_R.div(k1, rounding_mode="floor")
        second = self._choose_leaves(x_RD, token_R, group_R, counts_G)

        gate_R1 = permute_rows(first.gates_RK.reshape(-1, 1), order_R, inverse_R)
        gates_RK = second.gates_RK * gate_R1
        experts_RK = group_R[:, None] * leaves + second.experts_RK
        counts_E = tokens_per_expert(experts_RK, self.num_experts)
        balance = self._balance(first, second, gates_RK, group_R, counts_G, counts_E)
        return Routing(
            repeated_tokens(x_ND.shape[0], self.experts_per_token, x_ND.device),
            experts_RK.index_select(0, inverse_R).flatten(),
            permute_rows(gates_RK, inverse_R, order_R).flatten(),
            self.experts_per_token,
            counts_E,
            balance,
        )

    def _choose_groups(self, x_ND: Tensor) -> Choice:
        clean_NG, std_NG = x_ND @ self.gate_DG, None
        if self.training and self.noise_floor is not None:
            std_NG = noise_scale(x_ND @ self.noise_DG, self.noise_floor)
        return choose_top_k(clean_NG, std_NG, self.groups_per_token, self._normal)

    def _choose_leaves(self, x_RD: Tensor, token_R: Tensor, group_R: Tensor, counts_G: Tensor) -> Choice:
        if not self.training or self.noise_floor is None:
            clean_RL = grouped_product(x_RD, self.gate_GDL, group_R, counts_G)
            return choose_top_k(clean_RL, None, self.experts_per_group)
        # One product for both: the rows are read once.
        weights_GDM = torch.cat((self.gate_GDL, self.noise_GDL), dim=2)
        clean_RL, raw_RL = grouped_product(x_RD, weights_GDM, group_R, counts_G).chunk(2, dim=1)
        std_RL = noise_scale(raw_RL, self.noise_floor)
        normal = partial(self._normal, tokens_R=token_R, streams_R=group_R)
        return choose_top_k(clean_RL, std_RL, self.experts_per_group, normal)

    def _balance(
        self,
        first: Choice,
        second: Choice,
        gates_RK: Tensor,
        group_R: Tensor,
        counts_G: Tensor,
        counts_E: Tensor,
    ) -> Balance:
        num_groups, _, leaves = self.gate_GDL.shape
        gates_RL = dense_gates(second.experts_RK, gates_RK, leaves)
        importance_GL = sum_by_group(gates_RL, group_R, counts_G)  # eq. 13
        tokens_G = counts_G.to(gates_RK.dtype)
        tokens_GL = counts_E.view(num_groups, leaves).to(gates_RK.dtype)
        first_load_G = tokens_G if first.probability_RE is None else first.probability_RE.sum(0)
        leaf_load_GL = (
            tokens_GL if second.probability_RE is None else sum_by_group(second.probability_RE, group_R, counts_G)
        )
        smooth = first.probability_RE is not None or second.probability_RE is not None
        load_GL = load_of_leaves(first_load_G, leaf_load_GL, tokens_G) if smooth else tokens_GL

        # Eq. 14 is a product of sums over the batch: its factors are summed over processes, not its value.
        importance, first_load, leaf_load, tokens = self._reduced(importance_GL, first_load_G, leaf_load_GL, tokens_G)
        losses = {"importance": self.importance_loss_weight * squared_variation(importance.flatten())}
        if self.noise_floor is not None:
            load = load_of_leaves(first_load, leaf_load, tokens).flatten()
            losses["load"] = self.load_loss_weight * squared_variation(load) if smooth else load.new_zeros(())
        return Balance(importance_GL.flatten(), load_GL.flatten(), counts_E, losses)


def load_of_leaves(first_load_G: Tensor, leaf_load_GL: Tensor, tokens_G: Tensor) -> Tensor:
    """Eq. 14: ``Load_primary(X)_i Load_i(X_i)_j / |X_i|``; zero for a group without tokens (spec 8, row 8)."""
    return first_load_G[:, None] * leaf_load_GL / (tokens_G[:, None] + EPSILON)
