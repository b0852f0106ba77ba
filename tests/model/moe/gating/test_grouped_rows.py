"""Products and sums of rows sorted by group against loops over groups."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mtmoe.model.moe.gating.grouped_rows import grouped_product, sum_by_group, take_rows_of_tokens

# (rows of each group, width, height): aligned for grouped_mm in float32; not; empty groups; one row; many in one.
CASES = [
    ([5, 9, 3], 8, 4),
    ([5, 9, 3], 6, 5),
    ([0, 7, 0, 0, 4, 0], 8, 8),
    ([0, 0, 1], 3, 1),
    ([200, 1, 0, 2], 4, 3),
    ([40] * 8, 4, 12),
]


def _case(counts: list[int], dtype: torch.dtype, *shape: int) -> tuple[Tensor, Tensor, Tensor]:
    counts_G = torch.tensor(counts)
    group_R = torch.arange(len(counts)).repeat_interleave(counts_G)
    torch.manual_seed(0)
    return torch.randn(len(group_R), *shape, dtype=dtype, requires_grad=True), group_R, counts_G


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("counts", "width", "height"), CASES)
def test_each_row_is_multiplied_by_its_groups_matrix(
    counts: list[int], width: int, height: int, dtype: torch.dtype
) -> None:
    x_RD, group_R, counts_G = _case(counts, dtype, width)
    weights_GDL = torch.randn(len(counts), width, height, dtype=dtype, requires_grad=True)
    fast_RL = grouped_product(x_RD, weights_GDL, group_R, counts_G)
    slow_RL = torch.stack([x_D @ weights_GDL[group] for x_D, group in zip(x_RD, group_R.tolist(), strict=True)])
    torch.testing.assert_close(fast_RL, slow_RL)
    weight_RL = torch.randn_like(slow_RL)
    fast = torch.autograd.grad((fast_RL * weight_RL).sum(), [x_RD, weights_GDL])
    slow = torch.autograd.grad((slow_RL * weight_RL).sum(), [x_RD, weights_GDL])
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b)


def test_an_expanded_gradient_is_taken() -> None:
    x_RD, group_R, counts_G = _case([5, 9, 3], torch.float32, 8)
    weights_GDL = torch.randn(3, 8, 4, requires_grad=True)
    grouped_product(x_RD, weights_GDL, group_R, counts_G).sum().backward()
    torch.testing.assert_close(x_RD.grad, weights_GDL.detach().sum(2)[group_R])


def test_no_rows_leave_every_matrix_with_a_gradient_of_zero() -> None:
    x_RD, group_R, counts_G = _case([0, 0], torch.float32, 8)
    weights_GDL = torch.randn(2, 8, 4, requires_grad=True)
    grouped_product(x_RD, weights_GDL, group_R, counts_G).sum().backward()
    assert weights_GDL.grad is not None
    assert not weights_GDL.grad.any()


@pytest.mark.parametrize("counts", [[5, 9, 3], [0, 7, 0], [0, 0], [0, 0, 1]])
def test_rows_are_summed_by_group(counts: list[int]) -> None:
    rows_RL, group_R, counts_G = _case(counts, torch.float64, 4)
    sums_GL = sum_by_group(rows_RL, group_R, counts_G)
    torch.testing.assert_close(sums_GL, torch.stack([part.sum(0) for part in rows_RL.split(counts)]))
    if sum(counts):
        assert torch.autograd.gradcheck(lambda rows: sum_by_group(rows, group_R, counts_G), rows_RL)


def test_rows_of_tokens_are_taken_any_number_of_times_and_give_back_their_gradients() -> None:
    x_ND = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    tokens_R = torch.tensor([3, 0, 3, 3, 1, 0])  # 2 and 4 never
    assert torch.equal(take_rows_of_tokens(x_ND, tokens_R), x_ND[tokens_R])
    assert torch.autograd.gradcheck(lambda x: take_rows_of_tokens(x, tokens_R), x_ND)
