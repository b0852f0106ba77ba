"""Embeddings and output probabilities: ids to vectors, and vectors to probabilities of labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mtmoe.model.ops.buffer_pool import reused_empty
from mtmoe.vocabulary import PAD

_LOGITS_AT_ONCE = 1 << 24  # 64 MiB in float32
_TOKENS_AT_ONCE = 2048


def embed(ids: Tensor, embedding_VD: Tensor, std: float) -> Tensor:
    """Return the rows ``ids`` of a matrix of standard deviation ``std``, at unit variance: [...] -> [..., D]."""
    # Stored at the scale of an output layer and read at unit variance, so that one matrix can be both: with inputs
    # as small as the stored numbers attention takes several epochs longer to be learned (seen on the demo).
    return rows_of(embedding_VD, ids) * (1.0 / std)


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix_VD: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.shape = matrix_VD.shape
        return F.embedding(ids, matrix_VD)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (ids,) = ctx.saved_tensors
        grad_VD = reused_empty(ctx.shape, grad.dtype).zero_()
        grad_VD.index_add_(0, ids.reshape(-1), grad.reshape(-1, ctx.shape[1]))
        return grad_VD, None


def rows_of(matrix_VD: Tensor, ids: Tensor) -> Tensor:
    """Return ``matrix_VD[ids]``: [...] -> [..., D].

    The gradient of a large vocabulary is nearly all zeros. On a CPU it gets memory that the last step's has left: fresh
    memory of that size costs more than all else of the gradient (a seventh of a step of ``wikitext2-moe``).
    """
    if matrix_VD.device.type != "cpu" or torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return F.embedding(ids, matrix_VD)
    output: Tensor = _Rows.apply(matrix_VD, ids)
    return output


def embedding_matrix(vocabulary_size: int, width: int, std: float) -> Tensor:
    """Draw the weights of an embedding or output layer, [V, D], of this standard deviation; zero for PAD."""
    weights_VD = torch.empty(vocabulary_size, width).normal_(std=std)
    weights_VD[PAD] = 0.0
    return weights_VD


def label_log_probabilities(hidden_ND: Tensor, output_VD: Tensor, labels_N: Tensor) -> Tensor:
    """Return log softmax(hidden_ND @ output_VD.T) at each label, float32 [N]; the whole matrix is never there."""
    rows = max(1, min(_TOKENS_AT_ONCE, _LOGITS_AT_ONCE // output_VD.shape[0]))
    parts = []
    for part_ND, part_N in zip(hidden_ND.split(rows), labels_N.split(rows), strict=True):
        log_NV = F.linear(part_ND, output_VD).float().log_softmax(dim=1)
        parts.append(log_NV.gather(1, part_N[:, None])[:, 0])
    return torch.cat(parts)
