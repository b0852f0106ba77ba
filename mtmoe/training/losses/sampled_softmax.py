"""Sampled softmax: the label against a few drawn classes in place of the whole vocabulary (paper, appendix C.1).

The distribution is log-uniform, ``p(c) = log((c + 2) / (c + 1)) / log(V + 1)``, which suits ids in the order of their
frequency. Every class is drawn on its own, with the probability that n draws from p would have it; those that were
drawn, and the label, take part with the logits

    s_c = h . w_c - log Q(c),    Q(c) = 1 - (1 - p(c))^n,

a label that was drawn once. The loss is the cross-entropy of these (Jozefowicz et al. 2016; the correction of Bengio
and Senecal). With independent draws the true probabilities are exactly where its expected gradient vanishes, and with
many draws every Q is 1, and this is the whole softmax.

Letters: C drawn classes, J these and the label, R rows of the drawn classes and of all labels.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor

from mtmoe.model.embedding import rows_of
from mtmoe.training.losses.label_smoothing import CrossEntropy

CHUNK_ELEMENTS = 1 << 24  # of logits


@functools.lru_cache(maxsize=2)
def inclusion_probabilities(num_draws: int, num_classes: int) -> Tensor:
    """Return Q of the module's text for every class: float64 [V], on the CPU."""
    c = torch.arange(num_classes, dtype=torch.float64)
    p = ((c + 2) / (c + 1)).log() / math.log(num_classes + 1)
    return -torch.expm1(num_draws * torch.log1p(-p))


def mean_num_drawn(num_draws: int, num_classes: int) -> float:
    """Return the mean number of classes drawn; one that is drawn twice is there once."""
    return float(inclusion_probabilities(num_draws, num_classes).sum())


def draw_classes(num_draws: int, num_classes: int, device: torch.device | str = "cpu") -> Tensor:
    """Draw classes by torch's generator of the CPU, whatever the device; return them in ascending order, [C]."""
    drawn_V = torch.rand(num_classes, dtype=torch.float64) < inclusion_probabilities(num_draws, num_classes)
    return drawn_V.nonzero()[:, 0].to(device)


def sampled_cross_entropy(
    hidden_ND: Tensor, output_VD: Tensor, labels_N: Tensor, num_draws: int, dtype: torch.dtype
) -> CrossEntropy:
    """Return the loss of all tokens against one set of drawn classes, summed; products are in ``dtype``.

    The value is that of the sampled problem, which is easier than the real one: evaluate with the whole softmax.
    """
    classes_C = draw_classes(num_draws, output_VD.shape[0], hidden_ND.device)
    return cross_entropy_against(hidden_ND, output_VD, labels_N, classes_C, num_draws, dtype)


def cross_entropy_against(
    hidden_ND: Tensor, output_VD: Tensor, labels_N: Tensor, classes_C: Tensor, num_draws: int, dtype: torch.dtype
) -> CrossEntropy:
    """Return the same against given classes, in ascending order. [N, J] exists in chunks only."""
    wide = torch.promote_types(torch.float32, dtype)
    log_q_V = inclusion_probabilities(num_draws, output_VD.shape[0]).log().to(hidden_ND.device, wide)
    # In their own type up to here: the gradients of one row from many tokens add up in it.
    weights_RD = rows_of(output_VD, torch.cat((classes_C, labels_N)))
    return CrossEntropy(*_SampledCrossEntropy.apply(hidden_ND, weights_RD, labels_N, classes_C, log_q_V, dtype))


class _SampledCrossEntropy(torch.autograd.Function):
    """Loss and gradient in one pass. weights_RD: the rows of the C classes and then of the N labels."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weights_RD: Tensor,
        labels_N: Tensor,
        classes_C: Tensor,
        log_q_V: Tensor,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        wants_gradient = any(ctx.needs_input_grad[:2])
        num_tokens, num_classes = labels_N.numel(), classes_C.numel()
        hidden, weights, wide = hidden_ND.to(dtype), weights_RD.to(dtype), log_q_V.dtype
        # One more column, for the label of each row.
        drawn_JD = torch.cat((weights[:num_classes], weights.new_zeros(1, weights.shape[1])))
        correction_J = torch.cat((log_q_V[classes_C], log_q_V.new_zeros(1)))
        place_N = torch.searchsorted(classes_C, labels_N)
        plain_sum, smoothed_sum = hidden_ND.new_zeros((), dtype=wide), hidden_ND.new_zeros((), dtype=wide)
        grad_hidden = torch.empty_like(hidden, dtype=wide) if wants_gradient else None
        grad_weights = torch.zeros_like(weights_RD, dtype=wide) if wants_gradient else None
        rows = max(1, CHUNK_ELEMENTS // (num_classes + 1))
        for begin in range(0, num_tokens, rows):
            part = slice(begin, begin + rows)
            chunk, labels, of_labels = hidden[part], labels_N[part], weights[num_classes:][part]
            scores_NJ = (chunk @ drawn_JD.t()).to(wide).sub_(correction_J)
            scores_NJ[:, -1] = (chunk * of_labels).sum(1, dtype=wide) - log_q_V[labels]
            # A label that was drawn has its own column already.
            place = place_N[part].clamp(max=max(0, num_classes - 1))
            drawn = (classes_C[place] == labels) if num_classes else torch.zeros_like(labels, dtype=torch.bool)
            twice_N = torch.arange(len(chunk), device=labels.device) * (num_classes + 1) + place
            flat = scores_NJ.view(-1)
            flat[twice_N] = torch.where(drawn, -torch.inf, flat[twice_N])
            log_NJ = scores_NJ.log_softmax(1)
            smoothed_sum = smoothed_sum - log_NJ[:, -1].sum()
            if grad_hidden is None or grad_weights is None:
                continue
            grad_NJ = log_NJ.exp_()
            grad_label_N1 = grad_NJ[:, -1:] - 1.0
            narrow_NJ = grad_NJ.to(dtype)
            grad_hidden[part] = (narrow_NJ @ drawn_JD).to(wide).addcmul_(grad_label_N1, of_labels.to(wide))
            grad_weights[:num_classes] += (narrow_NJ.t() @ chunk)[:-1]
            torch.mul(grad_label_N1, chunk, out=grad_weights[num_classes:][part])
        if grad_hidden is not None and grad_weights is not None:
            ctx.save_for_backward(grad_hidden.to(hidden_ND.dtype), grad_weights.to(weights_RD.dtype))
        plain_sum = plain_sum + smoothed_sum
        ctx.mark_non_differentiable(plain_sum)
        return smoothed_sum, plain_sum

    @staticmethod
    def backward(ctx: Any, grad_sum: Tensor, _grad_plain: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weights = ctx.saved_tensors
        return grad_hidden * grad_sum, grad_weights * grad_sum, None, None, None, None
