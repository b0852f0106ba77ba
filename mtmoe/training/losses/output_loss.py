"""Loss of the output layer: which of the losses of this folder a recipe is trained by."""

from __future__ import annotations

import torch
from torch import Tensor

from mtmoe.config.settings import Training
from mtmoe.model.softmax_mixture import SoftmaxMixture
from mtmoe.training.losses.label_smoothing import output_cross_entropy
from mtmoe.training.losses.sampled_softmax import sampled_cross_entropy
from mtmoe.training.losses.taught_cross_entropy import Taught, TaughtCrossEntropy, Terms, taught_cross_entropy


def output_loss(
    hidden_ND: Tensor,
    output_VD: Tensor,
    labels_N: Tensor,
    settings: Training,
    taught: Taught | None,
    dtype: torch.dtype,
    mixture: SoftmaxMixture | None = None,
) -> TaughtCrossEntropy:
    """Return the loss of a batch; its parts that the settings do not ask for are 0.

    Args:
        taught: what the teachers say of its tokens; None without teachers.
        dtype: of the products.
        mixture: of softmaxes, which has a loss of its own.
    """
    if mixture is not None:
        loss_sum = -mixture.label_log_probabilities(hidden_ND, output_VD, labels_N, dtype).sum()
        none = torch.zeros_like(loss_sum)
        return TaughtCrossEntropy(loss_sum, loss_sum.detach(), none, none)
    sampled, teacher, consistency = settings.sampled_softmax, settings.distillation, settings.consistency
    if teacher is not None or consistency is not None:
        terms = Terms(
            settings.label_smoothing,
            teacher.weight if teacher is not None else 0.0,
            teacher.temperature if teacher is not None else 1.0,
            consistency.weight if consistency is not None else 0.0,
        )
        return taught_cross_entropy(hidden_ND, output_VD, labels_N, terms, taught, dtype)
    if sampled is not None:
        plain = sampled_cross_entropy(hidden_ND, output_VD, labels_N, sampled.num_samples, dtype)
    else:
        plain = output_cross_entropy(hidden_ND, output_VD, labels_N, settings.label_smoothing, dtype)
    nothing = torch.zeros_like(plain.plain_sum)
    return TaughtCrossEntropy(plain.smoothed_sum, plain.plain_sum, nothing, nothing)
