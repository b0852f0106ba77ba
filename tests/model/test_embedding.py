"""Rows of an embedding against torch's own, in value and gradient."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mtmoe.model.embedding import embed, rows_of


@pytest.mark.parametrize("vocabulary_size", [11, 70_000], ids=["malloc recycles it", "reused memory"])
def test_the_gradient_of_rows_that_occur_several_times_or_never_is_that_of_torch(vocabulary_size):
    torch.manual_seed(1)
    ids_BT = torch.randint(11, (3, 7))
    upstream_BTD = torch.randn(3, 7, 8)
    for _ in range(2):  # the second takes the memory that the first has left, which is not zero
        matrix_VD = torch.randn(vocabulary_size, 8, requires_grad=True)
        rows_BTD = rows_of(matrix_VD, ids_BT)
        expected_BTD = F.embedding(ids_BT, matrix_VD)
        assert torch.equal(rows_BTD, expected_BTD)
        (found_VD,) = torch.autograd.grad(rows_BTD, matrix_VD, upstream_BTD)
        (expected_VD,) = torch.autograd.grad(expected_BTD, matrix_VD, upstream_BTD)
        assert torch.allclose(found_VD, expected_VD, atol=1e-6)
        assert int(found_VD.any(1).sum()) == ids_BT.unique().numel()
        del found_VD


def test_what_is_read_has_unit_variance_where_what_is_stored_suits_an_output_layer():
    torch.manual_seed(1)
    matrix_VD = torch.randn(4, 64) * 64**-0.5
    assert torch.equal(embed(torch.tensor([[3, 0]]), matrix_VD), matrix_VD[[3, 0]][None] * 8)
