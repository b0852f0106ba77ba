"""Two-level gates (paper, appendix B), each level by itself, for they may be on different
processes. The first one chooses groups where the token is; the second one chooses experts where the group is.

Letters: G groups, L experts of a group, F groups that are here, Q pairs of a token and one of its groups, R rows of the
groups that are here, M pairs of a row and one of its experts, X any dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mtmoe.model.moe.gating.balanced import in_token_order
from mtmoe.model.moe.gating.gate import Gate
from mtmoe.model.moe.gating.grouped_rows import take_rows_of_tokens
from mtmoe.model.moe.gating.top_k import repeated_tokens
from mtmoe.model.moe.routing import Balance, Routing
from mtmoe.model.ops.rows import inverse_permutation, permute_rows, repeat_rows


class FirstLevel(NamedTuple):
    """pairs: of a token and a group, which is the "expert" of this Routing. keys_Q: of the second level's noise, or
    None. rows_per_group: in the whole batch, where a gate makes it the same for all; else 0. sums: over the tokens, for
    the losses."""

    pairs: Routing
    keys_Q: Tensor | None
    rows_per_group: int
    sums: tuple[Tensor, ...]


class GroupRows(NamedTuple):
    """Rows for the second level: those of the groups that are here, sorted by group.

    x_RD: in the type of the gates. gates_R: of the first level. group_R: among those here, ascending; counts_F: rows of
    each. keys_R, rows_per_group: as the first level has them.
    """

    x_RD: Tensor
    gates_R: Tensor
    group_R: Tensor
    counts_F: Tensor
    keys_R: Tensor | None
    rows_per_group: int


class SecondLevel(NamedTuple):
    """pairs: of a row and an expert among those of the groups that are here; gates are products of both levels.
    importance_FL: eq. 13, over the rows. sums: what else the losses are made of."""

    pairs: Routing
    importance_FL: Tensor
    sums: tuple[Tensor, ...]


class TwoLevelGate(Gate):
    """A gate over G groups, and in each group a gate over its L experts that sees the group's tokens alone (eq. 12).

    An expert's gate is the product of the two, its number ``group * L + place in the group``. Nothing is as large as
    [tokens, experts]: the second level works on [tokens x groups_per_token, L].

    group_shard: the groups whose gates are here; only a gate with all of them can be called, others level by level.
    """

    num_groups: int
    groups_per_token: int
    top_k_in_group: int
    group_shard: slice

    def _set_levels(self, groups: int, groups_per_token: int, top_k_in_group: int) -> None:
        self.num_groups, self.groups_per_token, self.top_k_in_group = groups, groups_per_token, top_k_in_group
        self.group_shard = self.parallelism.shard(groups)

    @property
    def experts_per_group(self) -> int:
        """Return L, the size of a group."""
        return self.num_experts // self.num_groups

    def first_level(self, x_ND: Tensor) -> FirstLevel:
        """Choose the groups of N tokens, x_ND of any float type."""
        with torch.autocast(x_ND.device.type, enabled=False):
            return self._choose_groups(self.in_own_type(x_ND))

    def second_level(self, rows: GroupRows) -> SecondLevel:
        """Choose the experts of rows in the groups that are here."""
        with torch.autocast(rows.x_RD.device.type, enabled=False):
            return self._choose_experts(rows)

    def balance(self, first: FirstLevel, second: SecondLevel) -> Balance:
        """Return balance and losses of the tokens of all processes, whichever of them has a group's rows."""
        raise NotImplementedError

    def _choose_groups(self, x_ND: Tensor) -> FirstLevel:
        raise NotImplementedError

    def _choose_experts(self, rows: GroupRows) -> SecondLevel:
        raise NotImplementedError

    def _route(self, x_ND: Tensor) -> Routing:
        first = self._choose_groups(x_ND)
        pairs, k1 = first.pairs, first.pairs.experts_per_token
        order_R = pairs.experts_M.argsort(stable=True)
        inverse_R = inverse_permutation(order_R)
        token_R = pairs.tokens_M.index_select(0, order_R)
        group_R = pairs.experts_M.index_select(0, order_R)
        x_RD = repeat_rows(x_ND, order_R, inverse_R, k1) if k1 is not None else take_rows_of_tokens(x_ND, token_R)
        gates_R = permute_rows(pairs.gates_M[:, None], order_R, inverse_R)[:, 0]
        keys_R = first.keys_Q.index_select(0, order_R) if first.keys_Q is not None else None
        rows = GroupRows(x_RD, gates_R, group_R, pairs.token_counts_E, keys_R, first.rows_per_group)
        second = self._choose_experts(rows)
        balance, chosen, k2 = self.balance(first, second), second.pairs, second.pairs.experts_per_token
        if k1 is None or k2 is None:
            tokens_M = token_R.index_select(0, chosen.tokens_M)
            in_order = in_token_order(tokens_M, chosen.experts_M, chosen.gates_M)
            return Routing(*in_order, None, balance.token_counts_E, balance)
        return Routing(
            repeated_tokens(x_ND.shape[0], k1 * k2, x_ND.device),
            chosen.experts_M.view(-1, k2).index_select(0, inverse_R).flatten(),
            permute_rows(chosen.gates_M.view(-1, k2), inverse_R, order_R).flatten(),
            k1 * k2,
            balance.token_counts_E,
            balance,
        )

    def _of_all(self, values_FX: Tensor) -> Tensor:
        """Return [G, ...], with zeros for groups that are elsewhere."""
        before, after = self.group_shard.start, self.num_groups - self.group_shard.stop
        if not before and not after:
            return values_FX
        return F.pad(values_FX, (0, 0) * (values_FX.dim() - 1) + (before, after))

    def _row_keys(self, tokens_Q: Tensor, groups_Q: Tensor) -> Tensor | None:
        return self.noise.row_keys(tokens_Q, groups_Q) if self.noise is not None else None
