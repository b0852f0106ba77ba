"""Balancing by a bias on the choice alone (arXiv 2408.15664): no loss, and so no gradient that works against the
others."""

from __future__ import annotations

from torch import Tensor


def changed_bias(bias_E: Tensor, token_counts_E: Tensor, rate: float) -> Tensor:
    """Return ``b_i + gamma sign(mean(c) - c_i)`` (arXiv 2408.15664, algorithm 1), [E].

    Experts are chosen by ``s_i + b_i``, and their gates are made of ``s_i`` alone.

    Args:
        token_counts_E: c, the tokens that each expert received in an optimizer step: in all its batches, on all
            processes (int64). In integers the sign is exact.
        rate: gamma.
    """
    too_few_E = token_counts_E.sum() - token_counts_E * token_counts_E.numel()
    return bias_E + rate * too_few_E.sign().to(bias_E.dtype)
