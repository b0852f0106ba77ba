"""The neural cache: the paper's equations, word by word, in any stretches."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from mtmoe.config.settings import NeuralCache
from mtmoe.inference.scoring import neural_cache
from mtmoe.inference.scoring.language_model_scoring import score_text
from mtmoe.inference.scoring.neural_cache import Cache
from tests.inference.scoring.memories import counting_model, dev_lines, prepared_counting

torch.manual_seed(5)
HIDDEN = torch.randn(40, 6, dtype=torch.float64)
WORDS = torch.randint(0, 5, (40,))
LOG = torch.randn(40, dtype=torch.float64) - 3


def slow(settings: NeuralCache) -> list[float]:
    """log((1 - lambda) p + lambda p_cache) of each word, as the equations stand."""
    found = []
    for t in range(40):
        places = range(max(0, t - settings.size_tokens), t)
        similar = {i: math.exp(settings.theta * float(HIDDEN[t] @ HIDDEN[i])) for i in places}
        p = math.exp(LOG[t])
        if similar:
            cached = sum(similar[i] for i in places if WORDS[i] == WORDS[t]) / sum(similar.values())
            p = (1 - settings.weight) * p + settings.weight * cached
        found.append(math.log(p))
    return found


SETTINGS = [
    NeuralCache(size_tokens=7, theta=0.4, weight=0.3),
    NeuralCache(size_tokens=100, theta=0.0, weight=0.9),
    NeuralCache(size_tokens=1, theta=1.0, weight=0.1),
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("sizes", [[40], [1] * 40, [3, 17, 20]])
@pytest.mark.parametrize("elements", [1 << 20, 50])
def test_it_is_the_papers_mixture(
    settings: NeuralCache, sizes: list[int], elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neural_cache, "ELEMENTS_AT_ONCE", elements)
    cache, parts = Cache(settings), []
    for log_N, hidden_ND, words_N in zip(LOG.split(sizes), HIDDEN.split(sizes), WORDS.split(sizes), strict=True):
        parts.append(cache.mixed(log_N, hidden_ND, words_N))
    assert torch.cat(parts).tolist() == pytest.approx(slow(settings), abs=1e-10)


def test_without_a_weight_it_is_the_models_score_to_the_bit(tmp_path: Path) -> None:
    data = prepared_counting(tmp_path)
    lines = dev_lines(data)
    alone, remembering, weighted = (
        [score.log_probability for score in score_text(counting_model(data, scoring), lines)]
        for scoring in ({}, {"cache": {"weight": 0.0}}, {"cache": {"weight": 0.5}})
    )
    assert remembering == alone
    assert weighted != pytest.approx(alone, rel=1e-3)
    assert sum(weighted) > sum(alone), "twelve words that come again and again"
