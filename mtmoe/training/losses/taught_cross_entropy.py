"""Cross-entropy together with what teachers and a second reading add to it, and the output layer with all three.

As in ``label_smoothing.py`` the [tokens, vocabulary] matrix exists in chunks only, and one pass gives the loss and its
gradient; here the chunks are float32, for probabilities are compared with each other.

Letters: P readings of the batch, one or two, the tokens of the second behind those of the first; M tokens of one
reading, of a chunk; Q their tokens in all readings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mtmoe.training.losses.consistency import symmetric_divergence
from mtmoe.training.losses.distillation import divergence_from_teacher

CHUNK_ELEMENTS = 1 << 22  # of logits: 16 MiB in float32, of which several are there at a time

Taught = Callable[[slice], Tensor]
"""From tokens of one reading to the teachers' probabilities of their words, [M, V]."""


class Terms(NamedTuple):
    """What the loss of a token is made of. teacher_weight: share of the teachers. consistency_weight: times half of the
    symmetric divergence between the two readings; 0 where there is one alone."""

    smoothing: float
    teacher_weight: float = 0.0
    temperature: float = 1.0
    consistency_weight: float = 0.0

    @property
    def num_readings(self) -> int:
        """Return how often each token is there."""
        return 2 if self.consistency_weight else 1


class TaughtCrossEntropy(NamedTuple):
    """Sums over the tokens of one reading, in nats, means over the readings. objective: to be minimised, the only one
    with a gradient. plain: negative log-likelihood. teacher and consistency: the divergences, without their weights."""

    objective_sum: Tensor
    plain_sum: Tensor
    teacher_sum: Tensor
    consistency_sum: Tensor


def taught_cross_entropy(
    hidden_ND: Tensor,
    output_VD: Tensor,
    labels_N: Tensor,
    terms: Terms,
    taught: Taught | None,
    dtype: torch.dtype,
) -> TaughtCrossEntropy:
    """Return the loss of ``softmax(hidden_ND @ output_VD.T)``; products are in ``dtype``.

    Args:
        taught: None where nobody teaches.
    """
    return TaughtCrossEntropy(*_TaughtCrossEntropy.apply(hidden_ND, output_VD, labels_N, terms, taught, dtype))


class _TaughtCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        output_VD: Tensor,
        labels_N: Tensor,
        terms: Terms,
        taught: Taught | None,
        dtype: torch.dtype,
    ) -> tuple[Tensor, ...]:
        wants_gradient = any(ctx.needs_input_grad[:2])
        wide = torch.promote_types(torch.float32, dtype)
        output_weights, num_readings = output_VD.to(dtype), terms.num_readings
        hidden_PND = hidden_ND.to(dtype).unflatten(0, (num_readings, -1))
        labels_PN = labels_N.unflatten(0, (num_readings, -1))
        num_tokens = hidden_PND.shape[1]
        grad_hidden_PND = torch.zeros_like(hidden_PND, dtype=wide) if wants_gradient else None
        grad_output_VD = torch.zeros_like(output_VD, dtype=wide) if wants_gradient else None
        sums_4 = hidden_ND.new_zeros(4, dtype=wide)
        rows = max(1, CHUNK_ELEMENTS // (output_VD.shape[0] * num_readings))
        for begin in range(0, num_tokens, rows):
            part = slice(begin, min(begin + rows, num_tokens))
            chunk_QD, labels_Q = hidden_PND[:, part].flatten(0, 1), labels_PN[:, part].flatten()
            logits_QV = (chunk_QD @ output_weights.t()).to(wide)
            teacher_MV = None if taught is None else taught(part)
            of_chunk_4, grad_QV = _loss_of_chunk(logits_QV, labels_Q, terms, teacher_MV)
            sums_4 += of_chunk_4
            if grad_hidden_PND is not None and grad_output_VD is not None:
                narrow_QV = grad_QV.to(dtype)
                grad_hidden_PND[:, part] = (narrow_QV @ output_weights).to(wide).unflatten(0, (num_readings, -1))
                grad_output_VD += narrow_QV.t() @ chunk_QD
        if grad_hidden_PND is not None and grad_output_VD is not None:
            ctx.save_for_backward(grad_hidden_PND.flatten(0, 1).to(hidden_ND.dtype), grad_output_VD)
            ctx.output_dtype = output_VD.dtype
        sums = tuple(part.clone() for part in sums_4)
        ctx.mark_non_differentiable(*sums[1:])
        return sums

    @staticmethod
    def backward(ctx: Any, grad_sum: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_output = ctx.saved_tensors
        return grad_hidden * grad_sum, (grad_output * grad_sum).to(ctx.output_dtype), None, None, None, None


def _loss_of_chunk(
    logits_QV: Tensor, labels_Q: Tensor, terms: Terms, teacher_MV: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the sums of :class:`TaughtCrossEntropy`, in its order, and the gradient of the first by the logits."""
    num_readings, of_text = terms.num_readings, 1 - terms.teacher_weight
    log_QV = logits_QV.log_softmax(1)
    plain_sum = -log_QV.gather(1, labels_Q[:, None]).sum() / num_readings
    uniform_sum = -log_QV.mean(1).sum() / num_readings
    objective_sum = of_text * ((1 - terms.smoothing) * plain_sum + terms.smoothing * uniform_sum)
    probabilities_QV = log_QV.exp()
    grad_QV = (probabilities_QV - terms.smoothing / logits_QV.shape[1]).mul_(of_text / num_readings)
    rows_Q = torch.arange(len(labels_Q), device=labels_Q.device)
    # At a flat index: a scatter of one element a row takes as long as a pass over the matrix.
    grad_QV.view(-1)[rows_Q * logits_QV.shape[1] + labels_Q] -= of_text * (1 - terms.smoothing) / num_readings
    teacher_sum = consistency_sum = torch.zeros_like(plain_sum)
    if teacher_MV is not None:
        teacher_QV = teacher_MV.to(logits_QV.dtype).repeat(num_readings, 1)
        teacher_sum, of_teacher_QV = divergence_from_teacher(logits_QV, teacher_QV, terms.temperature)
        teacher_sum = teacher_sum / num_readings
        objective_sum = objective_sum + terms.teacher_weight * teacher_sum
        grad_QV.add_(of_teacher_QV, alpha=terms.teacher_weight / num_readings)
    if terms.consistency_weight:
        consistency_sum, of_readings_2NV = symmetric_divergence(
            log_QV.unflatten(0, (2, -1)), probabilities_QV.unflatten(0, (2, -1))
        )
        objective_sum = objective_sum + terms.consistency_weight / 2 * consistency_sum
        grad_QV.add_(of_readings_2NV.flatten(0, 1), alpha=terms.consistency_weight / 2)
    return torch.stack((objective_sum, plain_sum, teacher_sum, consistency_sum)), grad_QV
