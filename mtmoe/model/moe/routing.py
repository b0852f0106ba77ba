"""Routing: which experts a gate chooses for each token, and how evenly, as an interface between gate and experts.

Letters: M pairs of a token and one of its experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Balance(NamedTuple):
    """How one layer used its experts in one batch. Vectors over all E experts (the experts_per_group, with two levels).

    importance_E: sum of the gates of each expert (eqs. 6 and 13), float32; carries gradients in training.
    load_E: the paper's smooth load of each expert (eqs. 10 and 14); ``token_counts_E`` where there is no noise.
    token_counts_E: tokens that each expert received (int64).
    auxiliary_losses: weighted losses by name ("importance", "load", "threshold", "z"), scalars whose sum over all
        layers is the auxiliary loss, which is added to that of the predictions.
    """

    importance_E: Tensor
    load_E: Tensor
    token_counts_E: Tensor
    auxiliary_losses: dict[str, Tensor]


def sum_of_balances(balances: Sequence[Balance]) -> Balance:
    """Return the balance of a whole batch from those of its parts, without the losses, which are no sums."""
    vectors = [(balance.importance_E, balance.load_E, balance.token_counts_E) for balance in balances]
    importance_E, load_E, token_counts_E = (torch.stack(parts).sum(0) for parts in zip(*vectors, strict=True))
    return Balance(importance_E, load_E, token_counts_E, {})


class Routing(NamedTuple):
    """M pairs of a token and one of its experts, in token order; the experts of a token in any order.

    tokens_M: int64, ascending. experts_M: int64. gates_M: float32.
    experts_per_token: K if every token has exactly K pairs (pair m is of token m // K); None where the number varies
        (a token may then have no pair: its output is zero).
    token_counts_E: pairs of each expert, which is the number of tokens that it receives (int64).
    """

    tokens_M: Tensor
    experts_M: Tensor
    gates_M: Tensor
    experts_per_token: int | None
    token_counts_E: Tensor
    balance: Balance | None
