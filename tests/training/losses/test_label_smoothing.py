from __future__ import annotations

import pytest
import torch

from mtmoe.training.losses import label_smoothing as loss_module
from mtmoe.training.losses.label_smoothing import output_cross_entropy, reference_cross_entropy


def _case(num_tokens: int = 37, dtype: torch.dtype = torch.float32):
    torch.manual_seed(0)
    hidden_ND = torch.randn(num_tokens, 16, dtype=dtype, requires_grad=True)
    output_VD = torch.randn(50, 16, dtype=dtype, requires_grad=True)
    return hidden_ND, output_VD, torch.randint(0, 50, (num_tokens,))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk_elements", [50, 50 * 8, 1 << 20])
def test_the_fused_loss_and_its_gradients_equal_the_definition(monkeypatch, smoothing, chunk_elements):
    monkeypatch.setattr(loss_module, "CHUNK_ELEMENTS", chunk_elements)
    hidden_ND, output_VD, labels_N = _case()
    fast = output_cross_entropy(hidden_ND, output_VD, labels_N, smoothing, torch.float32)
    slow = reference_cross_entropy(hidden_ND, output_VD, labels_N, smoothing)
    torch.testing.assert_close(fast.smoothed_sum, slow.smoothed_sum)
    torch.testing.assert_close(fast.plain_sum, slow.plain_sum)
    fast_gradients = torch.autograd.grad(fast.smoothed_sum / 7, [hidden_ND, output_VD])
    slow_gradients = torch.autograd.grad(slow.smoothed_sum / 7, [hidden_ND, output_VD])
    for a, b in zip(fast_gradients, slow_gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_bf16_products_give_nearly_the_same_loss_and_gradients():
    hidden_ND, output_VD, labels_N = _case()
    fast = output_cross_entropy(hidden_ND, output_VD, labels_N, 0.1, torch.bfloat16)
    slow = reference_cross_entropy(hidden_ND, output_VD, labels_N, 0.1)
    assert float(fast.plain_sum) == pytest.approx(float(slow.plain_sum), rel=0.01)
    for a, b in zip(
        torch.autograd.grad(fast.smoothed_sum, [hidden_ND, output_VD]),
        torch.autograd.grad(slow.smoothed_sum, [hidden_ND, output_VD]),
        strict=True,
    ):
        assert float((a - b).norm() / b.norm()) < 0.02


def test_a_label_whose_probability_underflows_still_has_its_finite_loss():
    hidden_ND = torch.tensor([[1.0, 0.0]])
    output_VD = torch.tensor([[400.0, 0.0], [0.0, 0.0]])
    result = output_cross_entropy(hidden_ND, output_VD, torch.tensor([1]), 0.0, torch.float32)
    assert float(result.plain_sum) == pytest.approx(400.0)


def test_without_gradients_only_the_sums_are_computed():
    hidden_ND, output_VD, labels_N = _case()
    with torch.no_grad():
        result = output_cross_entropy(hidden_ND, output_VD, labels_N, 0.1, torch.float32)
    expected = reference_cross_entropy(hidden_ND, output_VD, labels_N, 0.1)
    torch.testing.assert_close(result.smoothed_sum, expected.smoothed_sum.detach())


def test_without_tokens_there_still_is_a_gradient_of_zero():
    hidden_ND, output_VD = torch.zeros(0, 4, requires_grad=True), torch.ones(7, 4, requires_grad=True)
    labels_N = torch.zeros(0, dtype=torch.int64)
    loss = output_cross_entropy(hidden_ND, output_VD, labels_N, 0.1, torch.float32)
    loss.smoothed_sum.backward()
    assert hidden_ND.grad is not None
    assert torch.equal(output_VD.grad, torch.zeros(7, 4))


def test_in_float64_it_is_exact():
    generator = torch.Generator().manual_seed(0)
    hidden_ND, output_VD = (torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in (5, 7))
    hidden_ND.requires_grad_()
    labels_N = torch.tensor([0, 3, 6, 3, 1])
    fast = output_cross_entropy(hidden_ND, output_VD, labels_N, 0.1, torch.float64)
    slow = reference_cross_entropy(hidden_ND, output_VD, labels_N, 0.1)
    (of_fast,) = torch.autograd.grad(fast.smoothed_sum, hidden_ND)
    (of_slow,) = torch.autograd.grad(slow.smoothed_sum, hidden_ND)
    torch.testing.assert_close(fast.smoothed_sum, slow.smoothed_sum, rtol=1e-12, atol=0)
    torch.testing.assert_close(of_fast, of_slow, rtol=1e-12, atol=1e-14)
