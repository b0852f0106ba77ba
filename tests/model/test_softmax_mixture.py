"""The mixture of softmaxes against its equation, word by word."""

from __future__ import annotations

import pytest
import torch

from mtmoe.model import softmax_mixture
from mtmoe.model.softmax_mixture import SoftmaxMixture


@pytest.fixture
def mixture() -> SoftmaxMixture:
    torch.manual_seed(1)
    made = SoftmaxMixture(6, 3).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return made


def slow(mixture: SoftmaxMixture, hidden_D: torch.Tensor, output_VD: torch.Tensor) -> torch.Tensor:
    """p of all words after one context."""
    prior_C = (mixture.prior.weight @ hidden_D).softmax(0)
    total_V = torch.zeros(len(output_VD), dtype=torch.float64)
    for component in range(3):
        part = slice(6 * component, 6 * component + 6)
        context_D = torch.tanh(mixture.context.weight[part] @ hidden_D + mixture.context.bias[part])
        total_V = total_V + prior_C[component] * (output_VD @ context_D).softmax(0)
    return total_V


@pytest.mark.parametrize("at_once", [1 << 24, 70])
def test_values_and_gradients_are_those_of_the_equation(
    mixture: SoftmaxMixture, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax_mixture, "LOGITS_AT_ONCE", at_once)  # 70: two tokens at a time
    hidden_ND = torch.randn(7, 6, dtype=torch.float64, requires_grad=True)
    output_VD = torch.randn(11, 6, dtype=torch.float64, requires_grad=True)
    labels_N = torch.randint(0, 11, (7,))
    expected_NV = torch.stack([slow(mixture, hidden_D, output_VD) for hidden_D in hidden_ND])
    assert torch.allclose(expected_NV.sum(1), torch.ones(7, dtype=torch.float64))
    found_N = mixture.label_log_probabilities(hidden_ND, output_VD, labels_N)
    expected_N = expected_NV.log()[torch.arange(7), labels_N]
    assert torch.allclose(found_N, expected_N, atol=1e-12)
    assert torch.allclose(mixture.log_probabilities(hidden_ND, output_VD), expected_NV.log(), atol=1e-12)
    with torch.no_grad():
        assert torch.equal(mixture.label_log_probabilities(hidden_ND, output_VD, labels_N), found_N)
    weights_N, wanted = torch.randn(7).double(), [hidden_ND, output_VD, *mixture.parameters()]
    ours = torch.autograd.grad((found_N * weights_N).sum(), wanted)
    theirs = torch.autograd.grad((expected_N * weights_N).sum(), wanted)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-11)


def test_products_in_bf16_are_near(mixture: SoftmaxMixture) -> None:
    hidden_ND, output_VD = torch.randn(50, 6), torch.randn(11, 6)
    labels_N = torch.randint(0, 11, (50,))
    mixture = mixture.float()
    exact_N = mixture.label_log_probabilities(hidden_ND, output_VD, labels_N)
    near_N = mixture.label_log_probabilities(hidden_ND, output_VD, labels_N, torch.bfloat16)
    assert near_N.dtype == torch.float32
    assert float((near_N - exact_N).abs().max()) < 0.15
    assert float((near_N - exact_N).abs().max()) > 0


def test_without_tokens_there_is_nothing(mixture: SoftmaxMixture) -> None:
    none = mixture.label_log_probabilities(
        torch.zeros(0, 6).double(), torch.zeros(11, 6).double(), torch.zeros(0).long()
    )
    assert none.shape == (0,)
