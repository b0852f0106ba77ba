from __future__ import annotations

import pytest
import torch
from torch import nn

from mtmoe.training.optimizers.gradient_clipping import clip_gradients


def test_clipping_scales_all_gradients_to_the_largest_norm_and_leaves_short_ones_alone():
    a, b = nn.Parameter(torch.zeros(1, 1)), nn.Parameter(torch.zeros(1, 1))
    parameters = {"a": a, "b": b}
    a.grad, b.grad = torch.tensor([[3.0]]), torch.tensor([[4.0]])
    assert float(clip_gradients(parameters, 1.0)) == pytest.approx(5.0)
    assert (float(a.grad), float(b.grad)) == pytest.approx((0.6, 0.8), rel=1e-4)
    a.grad, b.grad = torch.tensor([[0.3]]), torch.tensor([[0.4]])
    clip_gradients(parameters, 1.0)
    assert (float(a.grad), float(b.grad)) == pytest.approx((0.3, 0.4))
