from __future__ import annotations

import pytest
from torch import nn

from mtmoe.config.settings import Ema
from mtmoe.training.optimizers.ema import ExponentialMovingAverage


def test_the_average_follows_the_weights_with_the_decay_of_the_steps_since_its_last_update():
    model, averaged = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.zeros_(averaged.weight)
    nn.init.ones_(model.weight)
    average = ExponentialMovingAverage(averaged, Ema(decay=0.9, every_steps=4))
    for num_updates in range(997, 1001):
        average.update(model, num_updates)
    assert float(averaged.weight.detach()) == pytest.approx(1 - 0.9**4)
