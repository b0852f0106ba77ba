from __future__ import annotations

import math

import pytest

from mtmoe.config.settings import Schedule, Training
from mtmoe.training.optimizers.learning_rate import learning_rate


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
