"""AR and TAR against their equations, token by token."""

from __future__ import annotations

import pytest
import torch

from mtmoe.config.settings import Training
from mtmoe.model.translation import TopOutputs
from mtmoe.training.losses.activation_penalties import activation_penalty_sum


@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 0.0), (0.0, 1.5), (0.7, 0.3)])
def test_penalties_are_the_papers_of_real_tokens_alone(alpha: float, beta: float) -> None:
    torch.manual_seed(1)
    plain_BTD = torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)
    mask_BTD = (torch.rand(3, 5, 4) > 0.3).double() / 0.7
    lengths = [5, 2, 0]
    settings = Training(max_steps=1, activation_penalty=alpha, activation_change_penalty=beta)
    top = TopOutputs(plain_BTD, plain_BTD * mask_BTD)
    found = activation_penalty_sum(top, torch.tensor(lengths), settings)
    expected = torch.zeros((), dtype=torch.float64)
    for row, length in enumerate(lengths):
        for t in range(length):
            h = plain_BTD[row, t]
            expected = expected + alpha * ((mask_BTD[row, t] * h) ** 2).mean()
            if t > 0:
                expected = expected + beta * ((h - plain_BTD[row, t - 1]) ** 2).mean()
    assert float(found) == pytest.approx(float(expected), rel=1e-12)
    (ours,) = torch.autograd.grad(found, plain_BTD)
    (theirs,) = torch.autograd.grad(expected, plain_BTD)
    assert torch.allclose(ours, theirs, atol=1e-12)


def test_they_are_added_up_in_float32() -> None:
    settings = Training(max_steps=1, activation_penalty=1.0)
    ones = torch.ones(8, 600, 4, dtype=torch.bfloat16)
    found = activation_penalty_sum(TopOutputs(ones, ones), torch.full((8,), 600), settings)
    assert found.dtype == torch.float32
    assert float(found) == 4800
