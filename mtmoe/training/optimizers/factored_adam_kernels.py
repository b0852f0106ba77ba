"""Factored Adam's GPU kernels: its two passes over a stack of matrices (:mod:`.factored_adam`).

Step by step, torch goes eleven times over as many bytes as there are weights; these go four times: the gradients are
read for their squares, then gradients and weights are read, and weights written. Triton comes with torch for CUDA.

Letters: R rows of an expert's matrix, C its columns, P parts of the rows.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS, _COLUMNS = 32, 128  # of a tile


@triton.jit
def _add_up_squares(  # type: ignore[no-untyped-def]
    gradients, row_sums, column_sums, num_rows, num_columns, num_parts,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    expert, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    rows = part * ROWS + tl.arange(0, ROWS)
    own_rows = gradients + expert * num_rows * num_columns + rows[:, None].to(tl.int64) * num_columns
    own_columns = column_sums + (expert * num_parts + part) * num_columns
    sums = tl.zeros([ROWS], tl.float32)
    for first in range(0, num_columns, COLUMNS):
        columns = first + tl.arange(0, COLUMNS)
        inside = (rows[:, None] < num_rows) & (columns[None, :] < num_columns)
        gradient = tl.load(own_rows + columns[None, :], mask=inside, other=0.0).to(tl.float32)
        square = gradient * gradient
        sums += tl.sum(square, 1)
        tl.store(own_columns + columns, tl.sum(square, 0), mask=columns < num_columns)
    tl.store(row_sums + expert * num_rows + rows, sums, mask=rows < num_rows)


@triton.jit
def _take_step(  # type: ignore[no-untyped-def]
    weights, gradients, row_roots, column_roots, rate, epsilon, kept, num_rows, num_columns,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    expert = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (rows[:, None] < num_rows) & (columns[None, :] < num_columns)
    row_root = tl.load(row_roots + expert * num_rows + rows, mask=rows < num_rows, other=0.0)
    column_root = tl.load(column_roots + expert * num_columns + columns, mask=columns < num_columns, other=0.0)
    places = expert * num_rows * num_columns + rows[:, None].to(tl.int64) * num_columns + columns[None, :]
    gradient = tl.load(gradients + places, mask=inside, other=0.0).to(tl.float32)
    weight = tl.load(weights + places, mask=inside, other=0.0)
    scale = row_root[:, None] * column_root[None, :] + epsilon
    tl.store(weights + places, weight * kept - rate * (gradient / scale), mask=inside)


def mean_squares(gradient_ERC: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means of the squares over the columns and over the rows, float32 [E, R] and [E, C].

    They are the same bits every time.
    """
    num_experts, num_rows, num_columns = gradient_ERC.shape
    num_parts = triton.cdiv(num_rows, _ROWS)
    sums_ER = gradient_ERC.new_empty(num_experts, num_rows, dtype=torch.float32)
    sums_EPC = gradient_ERC.new_empty(num_experts, num_parts, num_columns, dtype=torch.float32)
    _add_up_squares[(num_experts, num_parts)](
        gradient_ERC, sums_ER, sums_EPC, num_rows, num_columns, num_parts, _ROWS, _COLUMNS
    )
    return sums_ER.div_(num_columns), sums_EPC.sum(1).div_(num_rows)


def take_step(
    weights_ERC: Tensor, gradient_ERC: Tensor, row_roots_ER: Tensor, column_roots_EC: Tensor, *,
    rate: float, epsilon: float, kept: float,
) -> None:  # fmt: skip
    """Set ``w = kept w - rate g / (row_roots column_roots + epsilon)`` in place; weights are float32."""
    num_experts, num_rows, num_columns = weights_ERC.shape
    grid = (num_experts, triton.cdiv(num_rows, _ROWS), triton.cdiv(num_columns, _COLUMNS))
    _take_step[grid](
        weights_ERC, gradient_ERC, row_roots_ER, column_roots_EC, rate, epsilon, kept, num_rows, num_columns,
        _ROWS, _COLUMNS,
    )  # fmt: skip
