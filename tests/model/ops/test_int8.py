"""Products of 8 bits against the same products in whole numbers, and against float32."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mtmoe.errors import UserError
from mtmoe.model.ops.int8 import Int8Matrix


def in_whole_numbers(weights_OI: Tensor, x_XI: Tensor) -> Tensor:
    """Round both to steps, multiply without any rounding, and put the scales back."""
    weight_scale_O, scale_X1 = weights_OI.abs().amax(1) / 127, x_XI.abs().amax(1, keepdim=True) / 63
    weight_scale_O, scale_X1 = weight_scale_O.clamp(min=1e-30), scale_X1.clamp(min=1e-30)
    rounded_OI, steps_XI = (weights_OI / weight_scale_O[:, None]).round().long(), (x_XI / scale_X1 + 0.5).floor().long()
    return (steps_XI @ rounded_OI.t()).double() * scale_X1.double() * weight_scale_O.double()


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize(("num_rows", "inputs", "outputs"), [(1, 8, 3), (7, 33, 50), (70, 256, 65), (0, 8, 8)])
def test_it_is_the_product_of_rounded_numbers(num_rows, inputs, outputs):
    weights_OI, x_XI = random(outputs, inputs), random(num_rows, inputs)
    matrix, expected_XO = Int8Matrix(weights_OI), in_whole_numbers(weights_OI, x_XI).float()
    torch.testing.assert_close(matrix.product(x_XI), expected_XO, rtol=1e-5, atol=1e-5)
    bias_O = random(outputs)
    torch.testing.assert_close(matrix.product(x_XI, bias_O), expected_XO + bias_O, rtol=1e-5, atol=1e-5)
    out = torch.empty(num_rows, outputs)
    assert matrix.written(x_XI, out) is out
    torch.testing.assert_close(out, expected_XO, rtol=1e-5, atol=1e-5)
    error_XO = (expected_XO - x_XI @ weights_OI.t()).abs()
    largest_X1, largest_O = x_XI.abs().sum(1, keepdim=True), weights_OI.abs().amax(1)
    steps_X1 = x_XI.abs().amax(1, keepdim=True) / 126
    assert (error_XO <= largest_X1 * largest_O / 254 + steps_X1 * weights_OI.abs().sum(1) * 1.01 + 1e-5).all()


def test_the_largest_numbers_do_not_overflow():
    """Two products of 8 and 8 bits are more than 16 bits hold; of 8 and 7 they are not."""
    for sign in (1.0, -1.0):
        weights_OI, x_XI = torch.full((4, 512), sign), torch.full((3, 512), 2.0)
        torch.testing.assert_close(Int8Matrix(weights_OI).product(x_XI), torch.full((3, 4), sign * 1024))


def test_rows_and_weights_of_zeros_give_zeros():
    matrix = Int8Matrix(torch.cat([random(3, 16), torch.zeros(2, 16)]))
    assert not matrix.product(torch.zeros(2, 16)).any()
    assert not matrix.product(random(4, 16))[:, 3:].any()


def test_a_row_depends_on_no_other_to_the_bit():
    matrix, x_XI = Int8Matrix(random(100, 64)), random(90, 64)
    whole_XO = matrix.product(x_XI)
    for begin, end in ((0, 1), (5, 22), (22, 90)):
        assert torch.equal(matrix.product(x_XI[begin:end]), whole_XO[begin:end])


def test_what_is_not_a_number_stays_so():
    x_XI = random(3, 16)
    x_XI[1, 2] = torch.nan
    assert Int8Matrix(random(5, 16)).product(x_XI).isnan().all(1).tolist() == [False, True, False]


def test_it_is_for_processors():
    with pytest.raises(UserError, match="int8 is for CPUs, and this is meta"):
        Int8Matrix(torch.empty(4, 4, device="meta"))
