"""Load balancing: the squared coefficient of variation that the losses are made of, and the count of tokens.

Letters: M pairs of a token and one of its experts.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-10


def squared_variation(values_E: Tensor) -> Tensor:
    """Return CV^2 = variance / mean^2 with the population variance (`docs/explanation/paper.md#decision-5`)."""
    mean = values_E.mean()
    return (values_E - mean).square().mean() / (mean.square() + EPSILON)


def tokens_per_expert(experts: Tensor, num_experts: int) -> Tensor:
    """Count the tokens of each expert, int64 [E].

    Integers are the same in any order of addition; bincount would wait for the GPU.
    """
    chosen_M = experts.flatten()
    token_counts_E = torch.zeros(num_experts, dtype=torch.int64, device=chosen_M.device)
    return token_counts_E.scatter_add_(0, chosen_M, torch.ones_like(chosen_M))
