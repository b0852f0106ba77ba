"""Load balancing: the squared coefficient of variation that the losses are made of, and the count of tokens; and the
router z-loss, which balances nothing but keeps logits small.

Letters: M pairs of a token and one of its experts, R rows of logits.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def z_sums(logits_RE: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``sum_x log(sum_i exp(l(x)_i))^2`` over rows of logits [..., E], and the number of the rows."""
    squares_R = logits_RE.logsumexp(dim=-1).square()
    return squares_R.sum(), logits_RE.new_full((), squares_R.numel())


def z_loss(sums: Sequence[Tensor]) -> Tensor:
    """Compute the router z-loss, ``1/|X| sum_x log(sum_i exp(l(x)_i))^2`` (arXiv 2202.08906, section 3.3), a scalar.

    The logits are those without noise. Of two levels it is the sum of both means.

    Args:
        sums: of :func:`z_sums`, of one level after another.
    """
    means = [total / number.clamp(min=1.0) for total, number in zip(sums[::2], sums[1::2], strict=True)]
    return torch.stack(means).sum()
