"""Rows that are sorted by group: their products with the group's matrix, their sums by group, and where they come from.

No function here waits for the device, and none adds floats in an order that may change.

Letters: R rows, G groups, L experts of a group, C columns, I tiles, J slots.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


def grouped_product(x_RD: Tensor, weights_GDL: Tensor, group_R: Tensor, counts_G: Tensor) -> Tensor:
    """Multiply each row with its group's matrix: [R, L], in the type of x_RD (float32 or float64).

    group_R: the group of each row, ascending; counts_G: the rows of each group.
    """
    if x_RD.shape[0] == 0:
        return x_RD @ weights_GDL[0]  # every weight stays in the graph, with a gradient of zero
    aligned = weights_GDL.shape[1] % 4 == 0 and weights_GDL.shape[2] % 4 == 0
    if x_RD.device.type == "cpu" and x_RD.dtype == torch.float32 and aligned:
        grouped_RL: Tensor = _GroupedProduct.apply(x_RD, weights_GDL, counts_G.cumsum(0).to(torch.int32))
        return grouped_RL
    # Elsewhere grouped_mm is for bf16 alone, or waits for the device, or wants strides of 16 bytes.
    tiled_RL: Tensor = _TiledProduct.apply(x_RD, weights_GDL, _tiles(group_R, counts_G))
    return tiled_RL


def sum_by_group(rows_RL: Tensor, group_R: Tensor, counts_G: Tensor) -> Tensor:
    """Return the sums of the rows of each group, [G, L]."""
    output: Tensor = _SumByGroup.apply(rows_RL, group_R, counts_G)
    return output


def take_rows_of_tokens(x_ND: Tensor, tokens_R: Tensor) -> Tensor:
    """Return ``x_ND[tokens_R]``, a token any number of times; its gradient is summed in the order of the rows."""
    output: Tensor = _TakeRows.apply(x_ND, tokens_R)
    return output


class _GroupedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_RD: Tensor, weights_GDL: Tensor, ends_G: Tensor) -> Tensor:
        ctx.save_for_backward(x_RD, weights_GDL, ends_G)
        output: Tensor = _grouped_mm(x_RD.contiguous(), weights_GDL, ends_G)
        return output

    @staticmethod
    def backward(ctx: Any, grad_RL: Tensor) -> Any:
        x_RD, weights_GDL, ends_G = ctx.saved_tensors
        grad_RL = grad_RL.contiguous()  # grouped_mm refuses an expanded one
        grad_RD = _grouped_mm(grad_RL, weights_GDL.transpose(1, 2), ends_G)
        return grad_RD, _grouped_mm(x_RD.contiguous().t(), grad_RL, ends_G), None


# An operator of its own, as the shapes of torch's are known for bf16 alone (torch 2.13): without it, torch.compile
# could not see through the gate.
@torch.library.custom_op("mtmoe::gate_grouped_mm", mutates_args=())
def _grouped_mm(a: Tensor, b: Tensor, ends_G: Tensor) -> Tensor:
    return F.grouped_mm(a, b, offs=ends_G)


@_grouped_mm.register_fake
def _(a: Tensor, b: Tensor, ends_G: Tensor) -> Tensor:
    if b.dim() == 3:  # rows by matrices
        return a.new_empty(a.shape[0], b.shape[2])
    return a.new_empty(ends_G.shape[0], a.shape[0], b.shape[1])  # sums over the rows of each group


class _Tiles(NamedTuple):
    """Rows laid out in tiles of one group each, all of one size, so that a product with tiles is a batched one.

    row_J: the row in each of the J = tiles x size slots; filled_J: whether there is one; slot_R: the inverse;
    group_I: the group of each tile, ascending; size: slots of a tile.
    """

    row_J: Tensor
    filled_J: Tensor
    slot_R: Tensor
    group_I: Tensor
    size: int

    def spread(self, rows_RC: Tensor) -> Tensor:
        """Lay out rows [R, C] as [tiles, size, C], with zeros in the slots that are not filled."""
        slots_JC = torch.where(self.filled_J[:, None], rows_RC.index_select(0, self.row_J), 0.0)
        return slots_JC.view(-1, self.size, rows_RC.shape[1])

    def collect(self, slots_IJC: Tensor) -> Tensor:
        """Return the rows that :meth:`spread` laid out."""
        return slots_IJC.flatten(0, 1).index_select(0, self.slot_R)


def num_tiles(num_rows: float, num_groups: int) -> float:
    """Return the number of tiles of a product by group on a GPU. It depends on the shapes alone: it is the most that
    any counts can need."""
    return num_rows // _tile_size(num_rows, num_groups) + num_groups


def _tile_size(num_rows: float, num_groups: int) -> int:
    """Return the rows of a tile: a quarter of a group's mean share keeps few slots empty and few copies of a matrix."""
    return min(256, max(1, int(num_rows // (4 * num_groups))))


def _tiles(group_R: Tensor, counts_G: Tensor) -> _Tiles:
    num_rows, num_groups = group_R.shape[0], counts_G.shape[0]
    size = _tile_size(num_rows, num_groups)
    tiles_G = (counts_G + (size - 1)) // size
    tile_ends_G, row_ends_G = tiles_G.cumsum(0), counts_G.cumsum(0)
    first_tile_G, first_row_G = tile_ends_G - tiles_G, row_ends_G - counts_G
    tile_I = torch.arange(int(num_tiles(num_rows, num_groups)), device=group_R.device)
    group_I = torch.searchsorted(tile_ends_G, tile_I, right=True).clamp(max=num_groups - 1)
    within_I = (tile_I - first_tile_G[group_I]) * size
    row_IJ = (first_row_G[group_I] + within_I)[:, None] + torch.arange(size, device=group_R.device)
    filled_IJ = row_IJ < row_ends_G[group_I][:, None]
    row = torch.arange(num_rows, device=group_R.device)
    slot_R = first_tile_G[group_R] * size + row - first_row_G[group_R]
    return _Tiles(row_IJ.clamp(max=num_rows - 1).flatten(), filled_IJ.flatten(), slot_R, group_I, size)


class _TiledProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_RD: Tensor, weights_GDL: Tensor, tiles: _Tiles) -> Tensor:
        ctx.save_for_backward(x_RD, weights_GDL)
        ctx.tiles = tiles
        return tiles.collect(torch.bmm(tiles.spread(x_RD), weights_GDL.index_select(0, tiles.group_I)))

    @staticmethod
    def backward(ctx: Any, grad_RL: Tensor) -> Any:
        (x_RD, weights_GDL), tiles = ctx.saved_tensors, ctx.tiles
        grad_IJL = tiles.spread(grad_RL)
        weights_ILD = weights_GDL.index_select(0, tiles.group_I).transpose(1, 2)
        grad_IDL = torch.bmm(tiles.spread(x_RD).transpose(1, 2), grad_IJL)
        member_GI = _members(tiles.group_I, weights_GDL.shape[0], grad_RL.dtype)
        grad_GDL = (member_GI @ grad_IDL.flatten(1)).view(weights_GDL.shape)
        return tiles.collect(torch.bmm(grad_IJL, weights_ILD)), grad_GDL, None


class _SumByGroup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows_RL: Tensor, group_R: Tensor, counts_G: Tensor) -> Tensor:
        ctx.save_for_backward(group_R)
        if rows_RL.is_cuda:
            # segment_reduce adds the rows of a group one after another there; a product is as deterministic.
            return _members(group_R, counts_G.shape[0], rows_RL.dtype) @ rows_RL
        # "unsafe" experts_per_group out the check of the lengths.
        return torch.segment_reduce(rows_RL, "sum", lengths=counts_G, axis=0, unsafe=True)

    @staticmethod
    def backward(ctx: Any, grad_GL: Tensor) -> Any:
        (group_R,) = ctx.saved_tensors
        return grad_GL.index_select(0, group_R), None, None


class _TakeRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, tokens_R: Tensor) -> Tensor:
        ctx.save_for_backward(tokens_R)
        ctx.num_tokens = x_ND.shape[0]
        return x_ND.index_select(0, tokens_R)

    @staticmethod
    def backward(ctx: Any, grad_RD: Tensor) -> Any:
        (tokens_R,) = ctx.saved_tensors
        times_N = torch.zeros(ctx.num_tokens, dtype=torch.int64, device=tokens_R.device)
        times_N.scatter_add_(0, tokens_R, torch.ones_like(tokens_R))
        by_token_RD = grad_RD.index_select(0, tokens_R.argsort(stable=True))
        return torch.segment_reduce(by_token_RD, "sum", lengths=times_N, axis=0, unsafe=True), None


def _members(group_R: Tensor, num_groups: int, dtype: torch.dtype) -> Tensor:
    """Return [G, R]: 1 where the row is of the group."""
    return (torch.arange(num_groups, device=group_R.device)[:, None] == group_R).to(dtype)
