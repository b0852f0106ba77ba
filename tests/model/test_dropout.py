from __future__ import annotations

import pytest
import torch

from mtmoe.model.dropout import Dropout, keep_mask


@pytest.mark.parametrize("probability", [0.1, 0.3, 0.5, 0.9])
def test_values_are_dropped_with_the_given_probability_and_the_mean_is_kept(probability):
    torch.manual_seed(0)
    mask = keep_mask(torch.Size((1000, 1001)), probability, torch.float32)
    assert float((mask == 0).float().mean()) == pytest.approx(probability, abs=0.003)
    assert float(mask.mean()) == pytest.approx(1.0, abs=0.01)
    assert len(mask.unique()) == 2


def test_neighbouring_elements_are_dropped_independently():
    torch.manual_seed(0)
    kept = (keep_mask(torch.Size((400_000,)), 0.5, torch.float32) > 0).float()
    for distance in (1, 2, 3, 4):
        both = float((kept[:-distance] * kept[distance:]).mean())
        assert both == pytest.approx(0.25, abs=0.005)


def test_the_gradient_passes_through_what_was_kept():
    torch.manual_seed(0)
    x = torch.randn(50, 7, requires_grad=True)
    y = Dropout(0.4).train()(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(y, x * x.grad)


def test_nothing_is_dropped_in_evaluation():
    x = torch.randn(5)
    assert Dropout(0.4).eval()(x) is x
