from __future__ import annotations

import torch
from torch import nn

from mtmoe.config.settings import Schedule, Training
from mtmoe.training.optimizers.adam import Adam


def _settings(**schedule) -> Training:
    return Training(max_steps=100, learning_rate=0.1, schedule=Schedule(**schedule), weight_decay=0.0)


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
