"""The k best of each row of logits, and how likely noise was to choose them (eqs. 3-9)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Choice(NamedTuple):
    """The k best experts of each row.

    experts_RK: int64, the best first. gates_RK: each row sums to 1. probability_RE: P(x, i) of eqs. 8-9; None where
    there was no noise, or no choice, and the count takes its place (spec 8, rows 1 and 4).
    """

    experts_RK: Tensor
    gates_RK: Tensor
    probability_RE: Tensor | None


def choose_top_k(
    clean_RE: Tensor, std_RE: Tensor | None, k: int, normal: Callable[[Tensor], Tensor] | None = None
) -> Choice:
    """Noisy top-k of logits (eqs. 3-5); without ``std_RE``, softmax kept to the k largest (eqs. 2, 16 and 17).

    normal: standard normal numbers in the shape of its argument; None for those of torch.

    Membership goes by the indices of top-k, so that ties do not admit a k+1st expert (spec 8, row 2).
    """
    num_experts = clean_RE.shape[1]
    draw = torch.randn_like if normal is None else normal
    logits_RE = clean_RE if std_RE is None else clean_RE + draw(clean_RE) * std_RE
    top_RM, indices_RM = logits_RE.topk(min(k + 1, num_experts), dim=1)
    # A softmax over the kept logits is the softmax over all of them, kept and renormalised.
    gates_RK, experts_RK = top_RM[:, :k].softmax(dim=1), indices_RM[:, :k]
    if std_RE is None or k == num_experts:
        return Choice(experts_RK, gates_RK, None)
    return Choice(experts_RK, gates_RK, probability_in_top_k(clean_RE, std_RE, top_RM, experts_RK))


def noise_scale(raw: Tensor, floor: float) -> Tensor:
    """Standard deviation of the noise (eq. 4), with the floor of spec 8, row 3."""
    return F.softplus(raw) + floor


def probability_in_top_k(clean_NE: Tensor, std_NE: Tensor, top_NM: Tensor, experts_NK: Tensor) -> Tensor:
    """P(x, i) of eqs. 8-9: that expert i is among the k best if only its own noise were drawn again.

    ``top_NM`` are the k+1 largest noisy logits. The threshold that excludes i itself is the k+1st of them
    where i is in, and the kth where it is out.
    """
    k = experts_NK.shape[1]
    inside_NE = torch.zeros_like(clean_NE, dtype=torch.bool).scatter_(1, experts_NK, True)
    threshold_NE = torch.where(inside_NE, top_NM[:, k : k + 1], top_NM[:, k - 1 : k])
    return torch.special.ndtr((clean_NE - threshold_NE) / std_NE)


def dense_gates(experts_RK: Tensor, gates_RK: Tensor, num_experts: int) -> Tensor:
    """G(x) as a whole, [R, E]. Scattered and then summed rather than added by index: the same bits every time on a
    GPU, too."""
    return gates_RK.new_zeros(gates_RK.shape[0], num_experts).scatter(1, experts_RK, gates_RK)


def repeated_tokens(num_tokens: int, k: int, device: torch.device) -> Tensor:
    """0 (k times), 1 (k times), ...: the tokens of k pairs each."""
    return torch.arange(num_tokens, device=device)[:, None].expand(-1, k).reshape(-1)
