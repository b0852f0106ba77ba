"""Padded matrix products of the experts on a CPU, a batch of experts at a time.

The experts of a batch are padded to equal numbers of rows.

Three things make this cheaper than one multiplication for each expert (`F.grouped_mm` on a CPU is a loop of them):
a batch has no cost for each small call; its weights, cast to the compute dtype in a buffer that stays in the cache,
are multiplied while they are there, so that no copy of the whole stack ever exists; and experts that received nothing
are never looked at. Threads share the batches out. Experts are taken in the order of their counts, so that few rows
are padding: row numbers are rounded up (few distinct shapes, because each costs oneDNN a compilation), and the rows of
a batch are at most 5/4 of what its smallest expert needs.

Works for any float type and on any device, but asks it for the counts.

Letters: M pairs of a token and one of its experts, P padded rows, G experts of a batch, R rows of a batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mtmoe.model.ops.buffer_pool import reused_empty
from mtmoe.model.ops.thread_pool import share_work
from mtmoe.system.torch_internals import copy_each

_BATCH_BYTES = 1 << 20  # of one weight matrix of each expert of a batch: what a core's own cache holds
_BATCHES = 16  # at least, of that many experts or more: threads that share them out should end together
_BATCH_ROWS = 64  # with so few rows the calls cost more than the arithmetic, and a batch has up to 4 times the bytes


class Batch(NamedTuple):
    """Experts that are multiplied together: each has ``num_rows`` rows, the first one from ``first_row`` on."""

    experts: list[int]
    first_row: int
    num_rows: int

    @property
    def rows(self) -> slice:
        return slice(self.first_row, self.first_row + len(self.experts) * self.num_rows)


class Layout(NamedTuple):
    """Where everything lies.

    batches: all experts that have rows. idle: those that have none.
    row_M: row of each pair. source_P: token of each row, N for padding.
    """

    batches: list[Batch]
    idle: list[int]
    row_M: Tensor
    source_P: Tensor


def most_rows(num_pairs: int) -> int:
    """Return a bound of the padded rows of any distribution of so many pairs."""
    return num_pairs + num_pairs // 4


def make_layout(
    token_counts_E: Tensor, tokens_M: Tensor, experts_M: Tensor, inverse_M: Tensor, num_tokens: int, matrix_bytes: int
) -> Layout:
    """Return the layout of a routing, always the same one; so it need not be kept for the backward pass."""
    counts = token_counts_E.cpu().numpy()
    order = np.argsort(-counts, kind="stable")
    sorted_counts = counts[order]
    num_busy = int(np.count_nonzero(counts))
    shift = np.zeros(len(counts), dtype=np.int64)  # of an expert's first row against its first pair in sorted order
    batches: list[Batch] = []
    done = num_rows = 0
    while done < num_busy:
        rows = _rounded_up(int(sorted_counts[done]))
        largest = max(_BATCH_BYTES // matrix_bytes, min(_BATCH_ROWS // rows, _most_experts(matrix_bytes)))
        if rows > _BATCH_ROWS:
            largest = min(largest, num_busy // _BATCHES)
        window = sorted_counts[done : min(done + max(1, largest), num_busy)]
        taken = int(np.count_nonzero(4 * rows <= 5 * window))
        experts = order[done : done + taken]
        shift[experts] = num_rows + rows * np.arange(taken)
        batches.append(Batch(experts.tolist(), num_rows, rows))
        done, num_rows = done + taken, num_rows + taken * rows
    shift -= np.cumsum(counts) - counts
    row_M = inverse_M + torch.from_numpy(shift).to(inverse_M.device)[experts_M]
    source_P = tokens_M.new_full((num_rows,), num_tokens).scatter_(0, row_M, tokens_M)
    return Layout(batches, order[num_busy:].tolist(), row_M, source_P)


def _most_experts(matrix_bytes: int) -> int:
    """Return the largest number of experts of any batch."""
    return max(1, 4 * _BATCH_BYTES // matrix_bytes)


def _rounded_up(count: int) -> int:
    """Round up to a multiple of the largest power of two that is at most 1/8 of it, or of 4; never by more than a
    quarter."""
    step = 1 << max(2, count.bit_length() - 4)
    while 4 * (rounded := -(-count // step) * step) > 5 * count:
        step //= 2
    return rounded


class _Scratch:
    """Room for one weight matrix, or its gradient, of each expert of a batch."""

    def __init__(self, stack: Tensor, dtype: torch.dtype) -> None:
        # Views by the hundred are a good part of what many small experts cost: made once, all in one call.
        self.stack, self.shape, self.dtype, self.device = stack.unbind(), stack.shape, dtype, stack.device
        self.is_same_type = stack.dtype == dtype

    @functools.cached_property
    def memory(self) -> Tensor:
        """Return memory of one size for all batches, so that it is at hand; threads that have a batch take it."""
        most = min(self.shape[0], _most_experts(self.shape[1:].numel() * self.dtype.itemsize))
        return _empty((most, *self.shape[1:]), self.dtype, self.device)

    @functools.cached_property
    def own(self) -> tuple[Tensor, ...]:
        """Return the matrix of each expert of the batch."""
        return self.memory.unbind()

    def of(self, batch: Batch) -> Tensor:
        return self.memory[: len(batch.experts)]

    def load(self, batch: Batch) -> Tensor:
        """Return the weights of the batch's experts in the compute dtype, [G, ., .]."""
        if self.is_same_type and len(batch.experts) == 1:
            return self.stack[batch.experts[0]].unsqueeze(0)
        own = self.own[: len(batch.experts)]
        copy_each(own, [self.stack[expert] for expert in batch.experts])
        return self.of(batch)

    def store(self, gradient: tuple[Tensor, ...], batch: Batch) -> None:
        """Write the gradients of the batch's experts, of which there is one matrix each."""
        copy_each([gradient[expert] for expert in batch.experts], self.own[: len(batch.experts)])


def forward(
    x_ND: Tensor, gates_M: Tensor, starts_N: Tensor, first_EDH: Tensor, second_EHD: Tensor, layout: Layout,
    dtype: torch.dtype, hidden_PH: Tensor | None,
) -> Tensor:  # fmt: skip
    """Compute eq. 1 for all tokens, [N, D] in ``dtype``.

    The hidden activations are left in ``hidden_PH`` if it is given.
    """
    width, hidden = first_EDH.shape[1:]
    padded_x = _with_zero_row(x_ND, dtype)
    output_PD = padded_x.new_empty(len(layout.source_P), width)

    def work(batches: Iterator[Batch]) -> None:
        first, second = _Scratch(first_EDH, dtype), _Scratch(second_EHD, dtype)
        for batch in batches:
            shape = (len(batch.experts), batch.num_rows)
            x_GRD = padded_x.index_select(0, layout.source_P[batch.rows]).view(*shape, width)
            kept = padded_x.new_empty(shape[0] * shape[1], hidden) if hidden_PH is None else hidden_PH[batch.rows]
            hidden_GRH = _hidden(x_GRD, first.load(batch), kept.view(*shape, hidden))
            torch.bmm(hidden_GRH, second.load(batch), out=output_PD[batch.rows].view(*shape, width))

    _do_all(layout.batches, work, x_ND.device)
    return gathered_sum(output_PD, layout.row_M, starts_N, gates_M)


def backward(
    gradient_ND: Tensor, x_ND: Tensor, gates_M: Tensor, starts_N: Tensor, first_EDH: Tensor, second_EHD: Tensor,
    layout: Layout, dtype: torch.dtype, hidden_PH: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of x_ND, gates_M and both stacks; ``hidden_PH`` is computed again where it is not given.

    With O the incoming gradient of a row's token, g its gate and T = (O W2^T) * (h > 0):
    dg = <T, h>, dW2 = h^T (g O), dW1 = (g x)^T T, dx = g (T W1^T). The gates are put where rows are D wide.
    Padded rows have x = O = 0, and so add exactly nothing.
    """
    width, hidden = first_EDH.shape[1:]
    padded_x, padded_gradient = _with_zero_row(x_ND, dtype), _with_zero_row(gradient_ND, dtype)
    num_rows = len(layout.source_P)
    gate_P1 = padded_x.new_zeros(num_rows).index_copy_(0, layout.row_M, gates_M.to(dtype)).unsqueeze(1)
    gate_gradient_P = padded_x.new_empty(num_rows)
    x_gradient_PD = padded_x.new_empty(num_rows, width)
    first_gradient = _empty(first_EDH.shape, first_EDH.dtype, first_EDH.device)
    second_gradient = _empty(second_EHD.shape, second_EHD.dtype, second_EHD.device)
    first_gradients, second_gradients = first_gradient.unbind(), second_gradient.unbind()

    def work(batches: Iterator[Batch]) -> None:
        first, second = _Scratch(first_EDH, dtype), _Scratch(second_EHD, dtype)
        for batch in batches:
            shape, source = (len(batch.experts), batch.num_rows), layout.source_P[batch.rows]
            x_RD, gradient_RD = padded_x.index_select(0, source), padded_gradient.index_select(0, source)
            x_GRD, gradient_GRD = x_RD.view(*shape, width), gradient_RD.view(*shape, width)
            first_GDH = first.load(batch)
            if hidden_PH is None:
                hidden_GRH = _hidden(x_GRD, first_GDH, padded_x.new_empty(*shape, hidden))
            else:
                hidden_GRH = hidden_PH[batch.rows].view(*shape, hidden)
            back_GRH = torch.bmm(gradient_GRD, second.load(batch).transpose(1, 2))
            torch.sum((back_GRH * hidden_GRH).view(-1, hidden), 1, out=gate_gradient_P[batch.rows])
            torch.ops.aten.threshold_backward.grad_input(back_GRH, hidden_GRH, 0, grad_input=back_GRH)
            torch.bmm(back_GRH, first_GDH.transpose(1, 2), out=x_gradient_PD[batch.rows].view(*shape, width))
            gradient_RD.mul_(gate_P1[batch.rows])
            x_RD.mul_(gate_P1[batch.rows])
            # The weights of the batch have been used: their room takes the gradients.
            torch.bmm(hidden_GRH.transpose(1, 2), gradient_GRD, out=second.of(batch))
            second.store(second_gradients, batch)
            torch.bmm(x_GRD.transpose(1, 2), back_GRH, out=first.of(batch))
            first.store(first_gradients, batch)

    _do_all(layout.batches, work, x_ND.device)
    for expert in layout.idle:
        first_gradients[expert].zero_()
        second_gradients[expert].zero_()
    x_gradient_ND = gathered_sum(x_gradient_PD, layout.row_M, starts_N, gates_M).to(x_ND.dtype)
    gate_gradient_M = gate_gradient_P.index_select(0, layout.row_M).to(gates_M.dtype)
    return x_gradient_ND, gate_gradient_M, first_gradient, second_gradient


def _do_all(batches: list[Batch], work: Callable[[Iterator[Batch]], None], device: torch.device) -> None:
    """Run the work of each batch, by several threads on a CPU; elsewhere each thread would have a stream of its own."""
    if device.type == "cpu":
        share_work(batches, work)
    else:
        work(iter(batches))


def gathered_sum(rows_PD: Tensor, row_M: Tensor, starts_N: Tensor, gates_M: Tensor) -> Tensor:
    """Return ``y_n = sum of g_m rows[row_m]`` over the pairs m of token n, which begin at starts_N[n]: [N, D].

    One pass that gathers and adds in order, without atomics, and in float32 where rows are narrower; on a CPU
    it costs a tenth of index_select, multiplication and sum.
    """
    weights_M = gates_M.to(rows_PD.dtype)
    return F.embedding_bag(row_M, rows_PD, starts_N, mode="sum", per_sample_weights=weights_M)


def _hidden(x_GRD: Tensor, first_GDH: Tensor, out_GRH: Tensor) -> Tensor:
    return torch.bmm(x_GRD, first_GDH, out=out_GRH).relu_()


def _with_zero_row(x_ND: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a contiguous copy with the row that padding is read from."""
    copy = torch.empty(x_ND.shape[0] + 1, x_ND.shape[1], dtype=dtype, device=x_ND.device)
    copy[:-1].copy_(x_ND)
    copy[-1].zero_()
    return copy


def _empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    return reused_empty(shape, dtype) if device.type == "cpu" else torch.empty(*shape, dtype=dtype, device=device)
