"""What a gate tells the experts, and what it reports: the interface between the two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Balance(NamedTuple):
    """How one layer used its experts in one batch. Vectors over all E experts (the leaves, with two levels).

    importance_E: sum of the gates of each expert (eqs. 6 and 13), float32; carries gradients in training.
    load_E: smooth estimate of the tokens of each expert (eqs. 10 and 14); the plain count where there is no noise.
    counts_E: tokens that each expert received (int64).
    losses: weighted losses by name ("importance", "load", "threshold"), scalars to be added to the model's loss.
    """

    importance_E: Tensor
    load_E: Tensor
    counts_E: Tensor
    losses: dict[str, Tensor]


def sum_of_balances(balances: Sequence[Balance]) -> Balance:
    """Return that of all parts of a batch, without the losses, which are no sums."""
    vectors = [(balance.importance_E, balance.load_E, balance.counts_E) for balance in balances]
    importance_E, load_E, counts_E = (torch.stack(parts).sum(0) for parts in zip(*vectors, strict=True))
    return Balance(importance_E, load_E, counts_E, {})


class Routing(NamedTuple):
    """M pairs of a token and one of its experts, in token order; the experts of a token in any order.

    tokens_M: int64, ascending. experts_M: int64. gates_M: float32.
    experts_per_token: K if every token has exactly K pairs (pair m is of token m // K), else 0 (tokens may then
    have any number of pairs, also none: such a token's output is zero).
    counts_E: pairs of each expert (int64).
    """

    tokens_M: Tensor
    experts_M: Tensor
    gates_M: Tensor
    experts_per_token: int
    counts_E: Tensor
    balance: Balance | None
