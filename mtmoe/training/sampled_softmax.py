"""Sampled softmax: the label against a few drawn classes in place of the whole vocabulary (spec 5.2).

The distribution is log-uniform, ``p(c) = log((c + 2) / (c + 1)) / log(V + 1)``, which suits ids in the order of their
frequency. Every class is drawn on its own, with the probability that S draws from p would have it; those that were
drawn, and the label, take part with the logits

    s_c = h . w_c - log Q(c),    Q(c) = 1 - (1 - p(c))^S,

a label that was drawn once. The loss is the cross-entropy of these (Jozefowicz et al. 2016; the correction of Bengio
and Senecal). With independent draws the true probabilities are exactly where its expected gradient vanishes, and with
many draws every Q is 1, and this is the whole softmax.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mtmoe.training.loss import CrossEntropy

_CHUNK_ELEMENTS = 1 << 24  # of logits


@functools.lru_cache(maxsize=2)
def inclusion_probabilities(num_draws: int, num_classes: int) -> Tensor:
    """Q of the module's text for every class: float64 [V], on the CPU."""
    c = torch.arange(num_classes, dtype=torch.float64)
    p = ((c + 2) / (c + 1)).log() / math.log(num_classes + 1)
    return -torch.expm1(num_draws * torch.log1p(-p))


def mean_num_drawn(num_draws: int, num_classes: int) -> float:
    """Classes that are drawn, on average: one that is drawn twice is there once."""
    return float(inclusion_probabilities(num_draws, num_classes).sum())


def draw_classes(num_draws: int, num_classes: int, device: torch.device | str = "cpu") -> Tensor:
    """The drawn classes, ascending, by torch's generator of the CPU whatever the device."""
    drawn_V = torch.rand(num_classes, dtype=torch.float64) < inclusion_probabilities(num_draws, num_classes)
    return drawn_V.nonzero()[:, 0].to(device)


def sampled_cross_entropy(
    hidden_ND: Tensor, output_VD: Tensor, labels_N: Tensor, num_draws: int, dtype: torch.dtype
) -> CrossEntropy:
    """The loss of all tokens against one set of drawn classes, summed; products in ``dtype``.

    The value is that of the sampled problem, which is easier than the real one: evaluate with the whole softmax.
    """
    classes_C = draw_classes(num_draws, output_VD.shape[0], hidden_ND.device)
    return cross_entropy_against(hidden_ND, output_VD, labels_N, classes_C, num_draws, dtype)


def cross_entropy_against(
    hidden_ND: Tensor, output_VD: Tensor, labels_N: Tensor, classes_C: Tensor, num_draws: int, dtype: torch.dtype
) -> CrossEntropy:
    """The same against given classes. [tokens, classes] exists in chunks only."""
    wide = torch.promote_types(torch.float32, dtype)
    log_q_V = inclusion_probabilities(num_draws, output_VD.shape[0]).log().to(hidden_ND.device, wide)
    correction_C, correction_N = log_q_V[classes_C], log_q_V[labels_N]
    # In their own type up to here: the gradients of one row from many tokens add up in it.
    weights_CD, weights_ND = F.embedding(classes_C, output_VD), F.embedding(labels_N, output_VD)
    rows = max(1, _CHUNK_ELEMENTS // max(1, classes_C.numel()))
    total = hidden_ND.new_zeros((), dtype=wide)
    for begin in range(0, hidden_ND.shape[0], rows):
        part = slice(begin, begin + rows)
        total = total + checkpoint(
            _chunk_loss,
            hidden_ND[part],
            weights_ND[part],
            labels_N[part],
            correction_N[part],
            weights_CD,
            classes_C,
            correction_C,
            dtype,
            use_reentrant=False,
            preserve_rng_state=False,
        )
    return CrossEntropy(total, total.detach())


def _chunk_loss(
    hidden_ND: Tensor,
    weights_ND: Tensor,
    labels_N: Tensor,
    correction_N: Tensor,
    weights_CD: Tensor,
    classes_C: Tensor,
    correction_C: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    hidden = hidden_ND.to(dtype)
    wide = correction_N.dtype
    label_N = (hidden * weights_ND.to(dtype)).sum(1, dtype=wide) - correction_N
    drawn_NC = (hidden @ weights_CD.to(dtype).t()).to(wide) - correction_C
    drawn_NC = drawn_NC.masked_fill(classes_C == labels_N[:, None], -torch.inf)
    others_N = drawn_NC.logsumexp(1) if classes_C.numel() else torch.full_like(label_N, -torch.inf)
    return (torch.logaddexp(label_N, others_N) - label_N).sum()
