"""Label-smoothed cross-entropy, computed together with the output layer.

The [tokens, vocabulary] matrix is the largest of a step. Here it exists in chunks only, one pass of softmax
gives the loss and the gradient at once, and label smoothing costs nothing more: its part of the loss and of
the gradients is a mean over the vocabulary, which is a product with the mean of the output matrix.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK_ELEMENTS = 1 << 23  # of logits: 16 MiB in bf16


class CrossEntropy(NamedTuple):
    """Sums over the tokens: smoothed (to be minimised) and plain negative log-likelihood in nats."""

    smoothed_sum: Tensor
    plain_sum: Tensor


class _OutputCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, output_VD: Tensor, labels_N: Tensor, smoothing: float, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        wants_gradient = any(ctx.needs_input_grad[:2])
        hidden, output_weights = hidden_ND.to(dtype), output_VD.to(dtype)
        num_tokens, num_classes = hidden.shape[0], output_weights.shape[0]
        wide = torch.promote_types(torch.float32, dtype)  # float64 stays what it is
        mean_output_D = output_VD.to(wide).mean(0)
        rows = max(1, CHUNK_ELEMENTS // num_classes)
        logits_buffer = hidden.new_empty(min(rows, num_tokens), num_classes)
        softmax_buffer = torch.empty_like(logits_buffer)
        grad_hidden = torch.empty_like(hidden) if wants_gradient else None
        grad_output = torch.zeros_like(output_VD, dtype=wide) if wants_gradient else None
        # Two tensors, not one: without tokens they are what is returned, and only one of them has a gradient.
        plain_sum, smoothed_sum = hidden_ND.new_zeros((), dtype=wide), hidden_ND.new_zeros((), dtype=wide)
        for start in range(0, num_tokens, rows):
            chunk, labels = hidden[start : start + rows], labels_N[start : start + rows, None]
            logits, probabilities = logits_buffer[: len(chunk)], softmax_buffer[: len(chunk)]
            torch.mm(chunk, output_weights.t(), out=logits)
            torch.softmax(logits, dim=1, out=probabilities)
            label_log = probabilities.gather(1, labels).to(wide).log()
            # Where a label's probability is too small for the type, the logits still know its logarithm.
            lost = label_log.isinf()
            exact = (
                logits.gather(1, labels).to(wide) - logits.to(wide).logsumexp(1, keepdim=True) if _any(lost) else 0.0
            )
            label_log = torch.where(lost, exact, label_log)
            mean_log = chunk.to(wide) @ mean_output_D - logits.gather(1, labels)[:, 0].to(wide) + label_log[:, 0]
            plain_sum = plain_sum - label_log.sum()
            smoothed_sum = smoothed_sum - (1 - smoothing) * label_log.sum() - smoothing * mean_log.sum()
            if grad_hidden is not None and grad_output is not None:
                # At a flat index: a scatter of one element a row takes as long as a pass over the matrix.
                rows_N = torch.arange(len(chunk), device=labels.device)
                probabilities.view(-1)[rows_N * num_classes + labels[:, 0]] -= 1.0 - smoothing
                grad_hidden[start : start + rows] = probabilities @ output_weights
                grad_output += probabilities.t() @ chunk
        if grad_hidden is not None and grad_output is not None:
            grad_hidden = grad_hidden.to(wide) - smoothing * mean_output_D
            grad_output -= hidden.to(wide).sum(0) * (smoothing / num_classes)
            ctx.save_for_backward(grad_hidden.to(hidden_ND.dtype), grad_output)
            ctx.output_dtype = output_VD.dtype
        ctx.mark_non_differentiable(plain_sum)
        return smoothed_sum, plain_sum

    @staticmethod
    def backward(ctx: Any, grad_sum: Tensor, _grad_plain: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_output = ctx.saved_tensors
        return grad_hidden * grad_sum, (grad_output * grad_sum).to(ctx.output_dtype), None, None, None


def _any(flags: Tensor) -> bool:
    # On a GPU the question itself would wait for the device; there the exact form is computed always.
    return True if flags.is_cuda else bool(flags.any())


def output_cross_entropy(
    hidden_ND: Tensor, output_VD: Tensor, labels_N: Tensor, smoothing: float, dtype: torch.dtype
) -> CrossEntropy:
    """Return the cross-entropy of ``softmax(hidden_ND @ output_VD.T)``, summed over the tokens.

    The target distribution is (1 - smoothing) at the label plus smoothing / V everywhere. Products are in ``dtype``.
    Gradients flow from ``smoothed_sum`` only.
    """
    return CrossEntropy(*_OutputCrossEntropy.apply(hidden_ND, output_VD, labels_N, smoothing, dtype))


def reference_cross_entropy(hidden_ND: Tensor, output_VD: Tensor, labels_N: Tensor, smoothing: float) -> CrossEntropy:
    """Return the same by its definition, with the whole matrix: the reference of the fast path."""
    log_NV = (hidden_ND @ output_VD.t()).log_softmax(dim=1)
    plain_sum = F.nll_loss(log_NV, labels_N, reduction="sum")
    smoothed_sum = (1 - smoothing) * plain_sum - smoothing * log_NV.mean(dim=1).sum()
    return CrossEntropy(smoothed_sum, plain_sum.detach())
