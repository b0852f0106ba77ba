"""Row permutations and padding, with a backward pass that gathers instead of adding atomically.

Letters: M rows, several of a token, X rows of any kind, L positions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


class _PermuteRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, order_N: Tensor, inverse_N: Tensor) -> Tensor:
        ctx.save_for_backward(inverse_N)
        return x_ND.index_select(0, order_N)

    @staticmethod
    def backward(ctx: Any, grad_ND: Tensor) -> tuple[Tensor | None, ...]:
        (inverse_N,) = ctx.saved_tensors
        return grad_ND.index_select(0, inverse_N), None, None


class _RepeatRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, order_M: Tensor, inverse_M: Tensor, num_copies: int) -> Tensor:
        ctx.save_for_backward(inverse_M)
        ctx.num_copies = num_copies
        return x_ND.index_select(0, order_M.div(num_copies, rounding_mode="floor"))

    @staticmethod
    def backward(ctx: Any, grad_MD: Tensor) -> tuple[Tensor | None, ...]:
        (inverse_M,) = ctx.saved_tensors
        grad_NKD = grad_MD.index_select(0, inverse_M).view(-1, ctx.num_copies, grad_MD.shape[-1])
        return grad_NKD.sum(1), None, None, None


def permute_rows(x_ND: Tensor, order_N: Tensor, inverse_N: Tensor) -> Tensor:
    """Return ``x_ND[order_N]`` where ``order_N`` is a permutation and ``inverse_N`` its inverse."""
    output: Tensor = _PermuteRows.apply(x_ND, order_N, inverse_N)
    return output


def repeat_rows(x_ND: Tensor, order_M: Tensor, inverse_M: Tensor, num_copies: int) -> Tensor:
    """Return ``num_copies`` copies of every row, in the order ``order_M`` (a permutation of M = N x num_copies)."""
    output: Tensor = _RepeatRows.apply(x_ND, order_M, inverse_M, num_copies)
    return output


def inverse_permutation(order_N: Tensor) -> Tensor:
    """Return the permutation that undoes ``order_N``."""
    positions_N = torch.arange(order_N.numel(), device=order_N.device)
    return torch.empty_like(order_N).scatter_(0, order_N, positions_N)


def real_positions(lengths_B: Tensor, length: int) -> Tensor:
    """Return flat indices into [B, length] of the tokens that are not padding, row by row: shape [N]."""
    mask_BL = torch.arange(length, device=lengths_B.device) < lengths_B[:, None]
    return mask_BL.flatten().nonzero().squeeze(1)


def take_rows(x_BLD: Tensor, positions_N: Tensor) -> Tensor:
    """Return the rows of a padded [B, L, D] that ``positions_N`` names: [N, D]."""
    return x_BLD.reshape(-1, x_BLD.shape[-1]).index_select(0, positions_N)


def put_rows(x_ND: Tensor, positions_N: Tensor, num_sentences: int, length: int) -> Tensor:
    """Put rows back to where :func:`take_rows` took them; padding becomes zero."""
    flat = x_ND.new_zeros(num_sentences * length, x_ND.shape[-1]).index_copy(0, positions_N, x_ND)
    return flat.view(num_sentences, length, x_ND.shape[-1])


def with_common_number_of_rows(x_XD: Tensor) -> Tensor:
    """Add rows of zeros, on a CPU in bf16 and int8, where oneDNN compiles each product anew for each number of rows
    (half a millisecond, often more than the product itself): up to a multiple of 1/4 of the next lower power of two.

    How many they then are depends on the number of rows and on the type of the product alone: under autocast float32
    and bf16 rows go into the same products, and become equally many.
    """
    if x_XD.device.type != "cpu" or _type_of_product(x_XD) not in (torch.bfloat16, torch.uint8):
        return x_XD
    num_rows = x_XD.shape[0]
    step = max(16, 1 << max(0, num_rows.bit_length() - 3))
    missing = -num_rows % step
    return F.pad(x_XD, (0, 0, 0, missing)) if missing else x_XD


def _type_of_product(x_XD: Tensor) -> torch.dtype:
    """Return the type in which a product of it on a CPU is computed."""
    is_cast = x_XD.dtype == torch.float32 and torch.is_autocast_enabled("cpu")
    return torch.get_autocast_dtype("cpu") if is_cast else x_XD.dtype
