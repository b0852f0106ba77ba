"""Expert operator `mtmoe::experts`: dispatch, experts and combination at once, with a backward of its own.

One operator, so that `torch.compile` sees one call of known shapes, and so that a fused kernel can take its place
without a change to the layer. It is given x_ND and indices rather than dispatched rows: what is kept for the
backward pass is then x_ND and not its k-times larger copy, and a kernel can gather in its prologue. The gates go in,
too: outputs of single experts are never kept, since the gradient of a gate is <O W2^T, h>.

Kept from forward to backward: x, gates, the indices and, unless it is to be computed again, h. The routing is never
drawn or sorted again.

Letters: M pairs of a token and one of its experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mtmoe.model.moe import few_rows, grouped_experts, padded_experts


def compute_experts(
    x_ND: Tensor,
    gates_M: Tensor,
    first_EDH: Tensor,
    second_EHD: Tensor,
    tokens_M: Tensor,
    experts_M: Tensor,
    order_M: Tensor,
    inverse_M: Tensor,
    token_counts_E: Tensor,
    experts_per_token: int | None,
    dtype: torch.dtype,
    keep_hidden: bool,
) -> tuple[Tensor, Tensor]:
    """Compute ``y_n = sum_m gates_m relu(x_n W1) W2`` over the pairs m of token n, with the matrices of experts_m.

    Args:
        order_M: the pairs sorted by expert (stable); inverse_M: the place of each pair in that order.
        experts_per_token: as in ``Routing``.
        dtype: of the arithmetic and of y.
        keep_hidden: whether h is returned for the backward pass.

    Returns:
        y_ND, and h with one row a pair, or no row; on a CPU in the padded order, with rows to spare.
    """
    hidden = x_ND.new_empty(_hidden_rows(x_ND, tokens_M, keep_hidden), first_EDH.shape[2], dtype=dtype)
    if tokens_M.shape[0] == 0:
        return x_ND.new_zeros(x_ND.shape, dtype=dtype), hidden
    starts_N = first_pairs(tokens_M, x_ND.shape[0], experts_per_token)
    if is_grouped(x_ND, dtype):
        y_ND, computed = grouped_experts.forward(
            x_ND, gates_M, starts_N, first_EDH, second_EHD, tokens_M.index_select(0, order_M), inverse_M,
            token_counts_E, dtype,
        )  # fmt: skip
        return y_ND, computed if keep_hidden else hidden
    if not keep_hidden and few_rows.has_few_rows(x_ND, first_EDH, len(tokens_M), dtype):
        tokens_in_order_M = tokens_M.index_select(0, order_M)
        y_ND = few_rows.forward(
            x_ND, gates_M, starts_N, first_EDH, second_EHD, tokens_in_order_M, inverse_M, token_counts_E
        )
        return y_ND, hidden
    layout = _layout(token_counts_E, tokens_M, experts_M, inverse_M, x_ND, first_EDH, dtype)
    kept = hidden if keep_hidden else None
    return padded_experts.forward(x_ND, gates_M, starts_N, first_EDH, second_EHD, layout, dtype, kept), hidden


experts_operator = torch.library.custom_op("mtmoe::experts", compute_experts, mutates_args=())
"""The same, with a gradient. The first call takes a second, which translating a few sentences should not wait for."""


@torch.library.custom_op("mtmoe::experts_backward", mutates_args=())
def experts_backward_operator(
    gradient_ND: Tensor,
    hidden: Tensor,
    x_ND: Tensor,
    gates_M: Tensor,
    first_EDH: Tensor,
    second_EHD: Tensor,
    tokens_M: Tensor,
    experts_M: Tensor,
    order_M: Tensor,
    inverse_M: Tensor,
    token_counts_E: Tensor,
    experts_per_token: int | None,
    dtype: torch.dtype,
    keep_hidden: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of x_ND, gates_M, first_EDH and second_EHD, each in the type of what it belongs to."""
    if tokens_M.shape[0] == 0:
        inputs = (x_ND, gates_M, first_EDH, second_EHD)
        return tuple(torch.zeros_like(t, memory_format=torch.contiguous_format) for t in inputs)  # type: ignore[return-value]
    starts_N = first_pairs(tokens_M, x_ND.shape[0], experts_per_token)
    kept = hidden if keep_hidden else None
    if is_grouped(x_ND, dtype):
        x_gradient_ND, gate_gradient_M, first_gradient, second_gradient = grouped_experts.backward(
            gradient_ND, x_ND, gates_M, starts_N, first_EDH, second_EHD, tokens_M.index_select(0, order_M), order_M,
            inverse_M, token_counts_E, dtype, kept,
        )  # fmt: skip
        assert first_gradient is not None and second_gradient is not None  # noqa: PT018
        return x_gradient_ND, gate_gradient_M, first_gradient, second_gradient
    layout = _layout(token_counts_E, tokens_M, experts_M, inverse_M, x_ND, first_EDH, dtype)
    return padded_experts.backward(
        gradient_ND, x_ND, gates_M, starts_N, first_EDH, second_EHD, layout, dtype, kept
    )  # fmt: skip


def is_grouped(x_ND: Tensor, dtype: torch.dtype) -> bool:
    """Return whether experts are computed by grouped products (GPU), and not padded to common sizes."""
    return x_ND.is_cuda and dtype != torch.float64


def _hidden_rows(x_ND: Tensor, tokens_M: Tensor, keep_hidden: bool) -> int:
    """Return a number of rows that the shapes alone decide, since the compiler must know it."""
    if not keep_hidden:
        return 0
    num_pairs = tokens_M.shape[0]
    # All indices into rows are int64, and rows x width is only ever multiplied inside PyTorch: 2^31 is no limit.
    return num_pairs if x_ND.is_cuda else padded_experts.most_rows(num_pairs)


def first_pairs(tokens_M: Tensor, num_tokens: int, experts_per_token: int | None) -> Tensor:
    """Return the first pair of each token; without pairs, where it would be."""
    if experts_per_token is not None:
        return torch.arange(0, num_tokens * experts_per_token, experts_per_token, device=tokens_M.device)
    return torch.searchsorted(tokens_M, torch.arange(num_tokens, device=tokens_M.device))


def _layout(
    token_counts_E: Tensor,
    tokens_M: Tensor,
    experts_M: Tensor,
    inverse_M: Tensor,
    x_ND: Tensor,
    first_EDH: Tensor,
    dtype: torch.dtype,
) -> padded_experts.Layout:
    matrix_bytes = first_EDH.shape[1] * first_EDH.shape[2] * dtype.itemsize
    return padded_experts.make_layout(token_counts_E, tokens_M, experts_M, inverse_M, x_ND.shape[0], matrix_bytes)


@experts_operator.register_fake
def _(
    x_ND: Tensor, gates_M: Tensor, first_EDH: Tensor, second_EHD: Tensor, tokens_M: Tensor, experts_M: Tensor,
    order_M: Tensor, inverse_M: Tensor, token_counts_E: Tensor, experts_per_token: int | None, dtype: torch.dtype,
    keep_hidden: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    rows = _hidden_rows(x_ND, tokens_M, keep_hidden)
    return x_ND.new_empty(x_ND.shape, dtype=dtype), x_ND.new_empty(rows, first_EDH.shape[2], dtype=dtype)


@experts_backward_operator.register_fake
def _(
    gradient_ND: Tensor,
    hidden: Tensor,
    x_ND: Tensor,
    gates_M: Tensor,
    first_EDH: Tensor,
    second_EHD: Tensor,
    *rest: Any,
) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape) for t in (x_ND, gates_M, first_EDH, second_EHD))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, experts_per_token, dtype, keep_hidden = inputs
    ctx.save_for_backward(output[1], *tensors)
    ctx.settings = (experts_per_token, dtype, keep_hidden)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, gradient_ND: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    hidden, *tensors = ctx.saved_tensors
    if gradient_ND is None:
        return (None,) * 12
    x_ND, gates_M, *stacks = tensors[:4]
    if _adds_in_place(x_ND, stacks, ctx.settings):
        if gates_M.shape[0] == 0:
            return torch.zeros_like(x_ND), torch.zeros_like(gates_M), *(None,) * 10
        return *_backward_into(gradient_ND, hidden, tensors, ctx.settings), *(None,) * 10
    gradients = experts_backward_operator(gradient_ND, hidden, *tensors, *ctx.settings)
    return (*gradients, *(None,) * 8)


def _adds_in_place(x_ND: Tensor, stacks: Sequence[Tensor], settings: tuple[int | None, torch.dtype, bool]) -> bool:
    """Return whether gradients of the stacks are added to those that are there: from the second batch of a step on, a
    GPU would otherwise need all of them a second time."""
    _, dtype, _ = settings
    has_gradients = all(s.is_leaf and s.grad is not None and s.grad.is_contiguous() for s in stacks)
    return is_grouped(x_ND, dtype) and has_gradients and not torch.compiler.is_compiling()


@torch.no_grad()
def _backward_into(
    gradient_ND: Tensor, hidden: Tensor, tensors: Sequence[Tensor], settings: tuple[int | None, torch.dtype, bool]
) -> tuple[Tensor, Tensor]:
    """Compute :func:`experts_backward_operator`, with the gradients of the stacks added to theirs."""
    x_ND, gates_M, first_EDH, second_EHD, tokens_M, _, order_M, inverse_M, token_counts_E = tensors
    experts_per_token, dtype, keep_hidden = settings
    starts_N = first_pairs(tokens_M, x_ND.shape[0], experts_per_token)
    assert first_EDH.grad is not None
    assert second_EHD.grad is not None
    x_gradient_ND, gate_gradient_M, _, _ = grouped_experts.backward(
        gradient_ND, x_ND, gates_M, starts_N, first_EDH, second_EHD, tokens_M.index_select(0, order_M), order_M,
        inverse_M, token_counts_E, dtype, hidden if keep_hidden else None, into=(first_EDH.grad, second_EHD.grad),
    )  # fmt: skip
    return x_gradient_ND, gate_gradient_M


experts_operator.register_autograd(_backward, setup_context=_setup_context)
