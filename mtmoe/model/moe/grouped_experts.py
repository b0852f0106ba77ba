"""Grouped matrix products of the experts on a GPU.

Rows are sorted by expert and multiplied by `F.grouped_mm`, which reads the ends of the groups on the device. Nothing
waits for the device: no size depends on the counts.

`F.grouped_mm` takes at most 1,023 groups on CUDA, and the first group always begins at row 0. So more experts are
taken in slices: for each, the rows are gathered anew with those of the slice in front (a shift that the device
knows), the rows behind them come out uninitialised, and what belongs to the slice is selected into the whole. That
reads the rows once more for each slice, but multiplies none of them twice. The backward pass takes slices also where
gradients are added to those that are there, for what is added is beside them for a moment.

bf16 has the fast kernels. With float32 and float16 `F.grouped_mm` itself falls back to a loop that waits for the
device; float64 it does not know.

Letters: M pairs of a token and one of its experts, X either D or H.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mtmoe.model.moe.padded_experts import gathered_sum

MOST_GROUPS = 1023
ROOM_BYTES = 1 << 28  # of what exists for a moment


class _Slice(NamedTuple):
    """Experts ``low`` to ``high``. ``ends``: of their groups when their first row is row 0 (int32).

    front_M: the row of all that is row m of the slice. inside_M1, back_M: which rows of all are in the slice, and
    where. All three are None when one slice holds every expert.
    """

    low: int
    high: int
    ends: Tensor
    front_M: Tensor | None
    inside_M1: Tensor | None
    back_M: Tensor | None

    @property
    def is_whole(self) -> bool:
        """Return whether the slice has all experts."""
        return self.front_M is None

    def take(self, rows_M: Tensor) -> Tensor:
        return rows_M if self.front_M is None else rows_M.index_select(0, self.front_M)

    def put(self, total_M: Tensor | None, part_M: Tensor) -> Tensor:
        """Choose the slice's rows, and never multiply by zero: what lies behind them may be NaN."""
        if self.back_M is None or self.inside_M1 is None:
            return part_M
        moved = part_M.index_select(0, self.back_M)
        inside = self.inside_M1 if part_M.ndim == 2 else self.inside_M1.squeeze(1)
        return torch.where(inside, moved, torch.zeros_like(moved) if total_M is None else total_M)


def _slices(token_counts_E: Tensor, num_rows: int, most_groups: int) -> Iterator[_Slice]:
    ends_E = token_counts_E.cumsum(0)
    num_experts = token_counts_E.shape[0]
    if num_experts <= most_groups:
        yield _Slice(0, num_experts, ends_E.to(torch.int32), None, None, None)
        return
    places_M = torch.arange(num_rows, device=token_counts_E.device)
    for low in range(0, num_experts, most_groups):
        high = min(low + most_groups, num_experts)
        start, end = ends_E[low] - token_counts_E[low], ends_E[high - 1]
        front_M = (places_M + start).clamp_(max=num_rows - 1)
        inside_M = (places_M >= start) & (places_M < end)
        back_M = (places_M - start).clamp_(min=0)
        yield _Slice(low, high, (ends_E[low:high] - start).to(torch.int32), front_M, inside_M.unsqueeze(1), back_M)


def forward(
    x_ND: Tensor, gates_M: Tensor, starts_N: Tensor, first_EDH: Tensor, second_EHD: Tensor,
    source_M: Tensor, inverse_M: Tensor, token_counts_E: Tensor, dtype: torch.dtype, most_groups: int = MOST_GROUPS,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Compute eq. 1 for all tokens, [N, D] in ``dtype``, and the hidden activations of the pairs sorted by expert, [M,
    H].

    source_M: token of each pair in sorted order; inverse_M: place there of each pair.
    """
    x_MD = x_ND.to(dtype).index_select(0, source_M)
    hidden_MH = output_MD = None
    for part in _slices(token_counts_E, x_MD.shape[0], most_groups):
        hidden = F.grouped_mm(part.take(x_MD), _cast(first_EDH, part, dtype), offs=part.ends).relu_()
        output = F.grouped_mm(hidden, _cast(second_EHD, part, dtype), offs=part.ends)
        hidden_MH, output_MD = part.put(hidden_MH, hidden), part.put(output_MD, output)
    assert hidden_MH is not None and output_MD is not None  # noqa: PT018
    return gathered_sum(output_MD, inverse_M, starts_N, gates_M), hidden_MH


def backward(
    gradient_ND: Tensor, x_ND: Tensor, gates_M: Tensor, starts_N: Tensor, first_EDH: Tensor, second_EHD: Tensor,
    source_M: Tensor, order_M: Tensor, inverse_M: Tensor, token_counts_E: Tensor, dtype: torch.dtype,
    hidden_MH: Tensor | None, most_groups: int = MOST_GROUPS, into: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:  # fmt: skip
    """Return the gradients of x_ND, gates_M and both stacks, by the equations of :func:`padded_experts.backward`.

    into: what those of the stacks are added to, some experts at a time; they are then not returned. Memory: rows are
    overwritten and gathered again rather than kept, so that beside the hidden activations one row of D and one of H
    numbers is there for each pair (with one slice).
    """
    gradient_MD: Tensor | None = gradient_ND.to(dtype).index_select(0, source_M)
    gate_M1 = gates_M.to(dtype).index_select(0, order_M).unsqueeze(1)
    x_gradient_MD = gate_gradient_M = first_gradient = second_gradient = None
    num_experts, width, hidden_width = first_EDH.shape
    if into is not None or num_experts > most_groups:
        matrix, row = width * hidden_width * dtype.itemsize, (width + hidden_width) * dtype.itemsize
        most_groups = min(most_groups, experts_at_once(matrix, source_M.shape[0] * row))
    for part in _slices(token_counts_E, source_M.shape[0], most_groups):
        assert gradient_MD is not None
        gradient, gate = part.take(gradient_MD), part.take(gate_M1)
        if part.is_whole:
            gradient_MD = None  # it is overwritten, and then let go
        rows = x_ND.to(dtype), part.take(source_M)
        if hidden_MH is None:
            hidden = F.grouped_mm(rows[0].index_select(0, rows[1]), _cast(first_EDH, part, dtype), offs=part.ends)
            hidden.relu_()
        else:
            hidden = part.take(hidden_MH)
        back = F.grouped_mm(gradient, _cast(second_EHD, part, dtype).transpose(1, 2), offs=part.ends)
        gate_gradient_M = part.put(gate_gradient_M, _row_products(back, hidden))
        torch.ops.aten.threshold_backward.grad_input(back, hidden, 0, grad_input=back)
        # Rows behind the last end take no part in a weight gradient.
        of_second = F.grouped_mm(hidden.t(), gradient.mul_(gate), offs=part.ends)
        second_gradient = _gathered(second_gradient, of_second, part, second_EHD, into[1] if into else None)
        del gradient, hidden, of_second
        of_first = F.grouped_mm(rows[0].index_select(0, rows[1]).mul_(gate).t(), back, offs=part.ends)
        first_gradient = _gathered(first_gradient, of_first, part, first_EDH, into[0] if into else None)
        del of_first
        x_gradient = F.grouped_mm(back, _cast(first_EDH, part, dtype).transpose(1, 2), offs=part.ends)
        del back
        x_gradient_MD = part.put(x_gradient_MD, x_gradient)
        del x_gradient
    assert x_gradient_MD is not None and gate_gradient_M is not None  # noqa: PT018
    x_gradient_ND = gathered_sum(x_gradient_MD, inverse_M, starts_N, gates_M).to(x_ND.dtype)
    gate_gradient = gate_gradient_M.index_select(0, inverse_M).to(gates_M.dtype)
    return x_gradient_ND, gate_gradient, first_gradient, second_gradient


def experts_at_once(matrix_bytes: int, row_bytes: float) -> int:
    """Return how many experts make a slice: as many as keep the gradients of one of their matrices no larger than the
    rows, which each slice goes through as a whole. ``row_bytes``: of all rows, D and H wide."""
    return max(1, int(max(ROOM_BYTES, row_bytes) // matrix_bytes))


def _gathered(
    total: Tensor | None, part_EXX: Tensor, part: _Slice, stack: Tensor, into: Tensor | None
) -> Tensor | None:
    """Put the gradient of some experts in its place in that of the stack."""
    if into is not None:
        into[part.low : part.high].add_(part_EXX)
        return None
    if part.is_whole and part_EXX.dtype == stack.dtype:
        return part_EXX
    total = torch.empty_like(stack, memory_format=torch.contiguous_format) if total is None else total
    total[part.low : part.high].copy_(part_EXX)
    return total


def _row_products(a_MH: Tensor, b_MH: Tensor) -> Tensor:
    """Return ``(a * b).sum(1)`` in float32, of some rows at a time: their products are as large as the rows."""
    rows = max(1, ROOM_BYTES // 16 // max(1, a_MH.shape[1] * a_MH.element_size()))
    parts = [(a * b).sum(1, dtype=torch.float32) for a, b in zip(a_MH.split(rows), b_MH.split(rows), strict=True)]
    return torch.cat(parts)


def _cast(stack: Tensor, part: _Slice, dtype: torch.dtype) -> Tensor:
    return stack[part.low : part.high].to(dtype)
