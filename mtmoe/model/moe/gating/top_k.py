"""Noisy top-k: the k best of each row of logits, and how likely noise was to choose them (eqs. 3-9).

Letters: R rows, C the k + 1 largest logits of a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class Choice(NamedTuple):
    """The k best experts of each row.

    experts_RK: int64, the best first. gates_RK: each row sums to 1. probability_RE: P(x, i) of eqs. 8-9; None where
    there was no noise, or no choice, and the count takes its place (`docs/explanation/paper.md#decision-1` and
    `#decision-4`).
    """

    experts_RK: Tensor
    gates_RK: Tensor
    probability_RE: Tensor | None


def choose_top_k(
    clean_RE: Tensor, std_RE: Tensor | None, k: int, normal: Callable[[Tensor], Tensor] | None = None
) -> Choice:
    """Choose the k best by noisy logits (eqs. 3-5); without ``std_RE``, by a softmax kept to the k largest (eqs. 2, 16,
    17).

    normal: standard normal numbers in the shape of its argument; None for those of torch.

    Membership goes by the indices of top-k, so that ties do not admit a k+1st expert
    (`docs/explanation/paper.md#decision-2`).
    """
    num_experts = clean_RE.shape[1]
    probability_RE = None
    if std_RE is None:
        top_RC, indices_RC = clean_RE.topk(min(k + 1, num_experts), dim=1)
    else:
        noise_RE = (torch.randn_like if normal is None else normal)(clean_RE)
        if k == num_experts:
            top_RC, indices_RC = (clean_RE + noise_RE * std_RE).topk(k, dim=1)
        else:  # a compiler makes few passes of the plain form by itself
            of_noise = noisy_top if torch.compiler.is_compiling() else _NoisyTop.apply
            top_RC, indices_RC, probability_RE = of_noise(clean_RE, std_RE, noise_RE, k)
    # A softmax over the kept logits is the softmax over all of them, kept and renormalised.
    return Choice(indices_RC[:, :k], top_RC[:, :k].softmax(dim=1), probability_RE)


def noisy_top(clean_RE: Tensor, std_RE: Tensor, noise_RE: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the k+1 largest of clean + noise * std of each row, where they are, and P(x, i) of eqs. 8-9."""
    top_RC, indices_RC = (clean_RE + noise_RE * std_RE).topk(k + 1, dim=1)
    return top_RC, indices_RC, probability_in_top_k(clean_RE, std_RE, top_RC, indices_RC[:, :k])


class _NoisyTop(torch.autograd.Function):
    """:func:`noisy_top` with half of the passes over [R, E], of which a gate of hundreds of experts mostly consists.

    With z = (clean - threshold) / std, P = Phi(z) and G the gradient that P receives: that of clean is
    A = G phi(z) / std, that of std -A z, and that of a row's threshold the sum of -A over the experts that it is for.
    Beside these only the k+1 largest have gradients, which go to their clean logits, and times their noise to their
    std.
    """

    @staticmethod
    def forward(ctx: Any, clean_RE: Tensor, std_RE: Tensor, noise_RE: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        top_RC, indices_RC = torch.addcmul(clean_RE, noise_RE, std_RE).topk(k + 1, dim=1)
        inside_RK = indices_RC[:, :k]
        threshold_RE = top_RC[:, k - 1 : k].expand_as(clean_RE).clone(memory_format=torch.contiguous_format)
        threshold_RE.scatter_(1, inside_RK, top_RC[:, k:].expand_as(inside_RK))
        z_RE = torch.sub(clean_RE, threshold_RE, out=threshold_RE).div_(std_RE)
        probability_RE = (z_RE * -math.sqrt(0.5)).erfc_().mul_(0.5)
        ctx.save_for_backward(z_RE, std_RE, noise_RE.gather(1, indices_RC), indices_RC)
        ctx.mark_non_differentiable(indices_RC)
        return top_RC, indices_RC, probability_RE

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, top_gradient_RC: Tensor, _: Any, gradient_RE: Tensor) -> Any:
        z_RE, std_RE, noise_RC, indices_RC = ctx.saved_tensors
        inside_RK = indices_RC[:, :-1]
        clean_gradient_RE = (
            (z_RE * z_RE).mul_(-0.5).exp_().mul_(gradient_RE).mul_(1 / math.sqrt(2 * math.pi)).div_(std_RE)
        )
        std_gradient_RE = torch.mul(clean_gradient_RE, z_RE).neg_()
        of_inside_R = clean_gradient_RE.gather(1, inside_RK).sum(1)
        of_outside_R = clean_gradient_RE.scatter(1, inside_RK, 0.0).sum(1)
        top_gradient_RC = top_gradient_RC.clone()
        top_gradient_RC[:, -1] -= of_inside_R
        top_gradient_RC[:, -2] -= of_outside_R
        for gradient, added_RC in ((clean_gradient_RE, top_gradient_RC), (std_gradient_RE, top_gradient_RC * noise_RC)):
            # The places of a row differ, so nothing is added twice: no atomics, the same bits every time.
            gradient.scatter_(1, indices_RC, gradient.gather(1, indices_RC) + added_RC)
        return clean_gradient_RE, std_gradient_RE, None, None


def noise_scale(raw: Tensor, floor: float) -> Tensor:
    """Return the standard deviation of the noise (eq. 4), with a floor (`docs/explanation/paper.md#decision-3`).

    Without a floor softplus underflows to 0, by which eq. 9 divides. It stops where it is too little to change a logit,
    so that eq. 9 is a step there, and its square is no infinity.
    """
    least = torch.finfo(raw.dtype).eps ** 2
    std = F.softplus(raw) + floor
    return std if floor >= least else std.clamp(min=least)


def probability_in_top_k(clean_NE: Tensor, std_NE: Tensor, top_NC: Tensor, experts_NK: Tensor) -> Tensor:
    """Return P(x, i) of eqs. 8-9: that expert i is among the k best if only its own noise were drawn again.

    ``top_NC`` are the k+1 largest noisy logits. The threshold that excludes i itself is the k+1st of them
    where i is in, and the kth where it is out.
    """
    k = experts_NK.shape[1]
    inside_NE = torch.zeros_like(clean_NE, dtype=torch.bool).scatter_(1, experts_NK, True)
    threshold_NE = torch.where(inside_NE, top_NC[:, k : k + 1], top_NC[:, k - 1 : k])
    output: Tensor = torch.special.ndtr((clean_NE - threshold_NE) / std_NE)
    return output


def dense_gates(experts_RK: Tensor, gates_RK: Tensor, num_experts: int) -> Tensor:
    """Return G(x) as a whole, [R, E].

    Scattered and then summed rather than added by index: the same bits every time on a GPU, too.
    """
    return gates_RK.new_zeros(gates_RK.shape[0], num_experts).scatter(1, experts_RK, gates_RK)


def repeated_tokens(num_tokens: int, k: int, device: torch.device) -> Tensor:
    """Return 0 (k times), 1 (k times), ...: the tokens of k pairs each."""
    return torch.arange(num_tokens, device=device)[:, None].expand(-1, k).reshape(-1)
