from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mtmoe.config.settings import Ema, Schedule, Training
from mtmoe.training.optimizers.adam import Adam, WeightAverage, learning_rate


def _settings(**schedule) -> Training:
    return Training(max_steps=100, learning_rate=0.1, schedule=Schedule(**schedule), weight_decay=0.0)


def test_the_papers_schedule_rises_stays_and_falls_with_the_inverse_square_root():
    settings = _settings(kind="paper", warmup_steps=10, constant_steps=30)
    assert learning_rate(settings, 5) == pytest.approx(0.05)
    assert learning_rate(settings, 10) == learning_rate(settings, 40) == pytest.approx(0.1)
    assert learning_rate(settings, 160) == pytest.approx(0.1 * math.sqrt(40 / 160))


def test_the_cosine_schedule_ends_at_its_final_fraction():
    settings = _settings(kind="cosine", warmup_steps=20, final_fraction=0.05)
    assert learning_rate(settings, 20) == pytest.approx(0.1)
    assert learning_rate(settings, 60) == pytest.approx(0.1 * (0.05 + 0.95 * 0.5))
    assert learning_rate(settings, 100) == pytest.approx(0.005)


def test_the_constant_schedule_stays():
    settings = _settings(kind="constant", warmup_steps=4)
    assert learning_rate(settings, 2) == pytest.approx(0.05)
    assert learning_rate(settings, 4) == learning_rate(settings, 99) == pytest.approx(0.1)


def test_adam_makes_the_update_of_its_definition():
    parameter = nn.Parameter(torch.tensor([[1.0, 2.0]]))
    adam = Adam({"weight": parameter}, _settings(kind="constant", warmup_steps=0))
    first = second = torch.zeros(1, 2)
    expected = parameter.detach().clone()
    for step in range(1, 4):
        gradient = torch.tensor([[0.3 * step, -0.1]])
        first = 0.9 * first + 0.1 * gradient
        second = 0.98 * second + 0.02 * gradient**2
        expected -= 0.1 * (first / (1 - 0.9**step)) / ((second / (1 - 0.98**step)).sqrt() + 1e-9)
        parameter.grad = gradient.clone()
        adam.set_learning_rate(0.1)
        adam.step()
        torch.testing.assert_close(parameter.detach(), expected)


def test_clipping_scales_all_gradients_to_the_largest_norm_and_leaves_short_ones_alone():
    a, b = nn.Parameter(torch.zeros(1, 1)), nn.Parameter(torch.zeros(1, 1))
    adam = Adam({"a": a, "b": b}, Training(max_steps=1, clip_norm=1.0))
    a.grad, b.grad = torch.tensor([[3.0]]), torch.tensor([[4.0]])
    assert float(adam.clip()) == pytest.approx(5.0)
    assert (float(a.grad), float(b.grad)) == pytest.approx((0.6, 0.8), rel=1e-4)
    a.grad, b.grad = torch.tensor([[0.3]]), torch.tensor([[0.4]])
    adam.clip()
    assert (float(a.grad), float(b.grad)) == pytest.approx((0.3, 0.4))


def test_the_average_follows_the_weights_with_the_decay_of_the_steps_since_its_last_update():
    model, averaged = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.zeros_(averaged.weight)
    nn.init.ones_(model.weight)
    average = WeightAverage(averaged, Ema(decay=0.9, every_steps=4))
    for num_updates in range(997, 1001):
        average.update(model, num_updates)
    assert float(averaged.weight.detach()) == pytest.approx(1 - 0.9**4)
