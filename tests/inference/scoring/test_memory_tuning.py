"""The search for the numbers of [scoring]: it ends where no neighbour is better, and tells what score finds."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest

from mtmoe.errors import UserError
from mtmoe.inference.scoring.dynamic_evaluation import root_mean_squares, training_text
from mtmoe.inference.scoring.language_model_scoring import score_text, total
from mtmoe.inference.scoring.memory_tuning import Trial, tuned_scoring
from tests.inference.scoring.memories import counting_model, dev_lines, prepared_counting

DYNAMIC = {"segment_tokens": 4, "learning_rate": 0.001, "decay": 0.001, "statistics_batches": 2}
CACHE = {"size_tokens": 30, "theta": 0.2, "weight": 0.05}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_counting(tmp_path_factory.mktemp("counting"))


@pytest.mark.parametrize("scoring", [{"dynamic": DYNAMIC}, {"cache": CACHE}, {"dynamic": DYNAMIC, "cache": CACHE}])
def test_the_chosen_settings_are_better_than_their_neighbours(data: Path, scoring: dict[str, Any]) -> None:
    loaded, lines = counting_model(data, scoring), dev_lines(data)[:15]
    dynamic = loaded.recipe.scoring.dynamic
    usual = root_mean_squares(loaded.model, training_text(loaded, data), dynamic) if dynamic else None
    trials: list[Trial] = []
    chosen = tuned_scoring(loaded, lines, loaded.recipe.scoring, usual, trials.append)
    assert (chosen.dynamic is None, chosen.cache is None) == ("dynamic" not in scoring, "cache" not in scoring)

    def perplexity(settings: Any) -> float:
        recipe = loaded.recipe.model_copy(update={"scoring": settings})
        return total(list(score_text(loaded._replace(recipe=recipe), lines, usual=usual))).per_token

    least = min(trial.perplexity for trial in trials)
    assert perplexity(chosen) == pytest.approx(least, rel=1e-6)
    assert least < trials[0].perplexity
    for trial in (trials[0], trials[-1]):
        assert trial.perplexity == pytest.approx(perplexity(trial.scoring), rel=1e-6)
    seen = {trial.scoring for trial in trials}
    assert len(seen) == len(trials), "nothing is read twice"
    if chosen.cache is not None:
        for key, factor in itertools.product(("theta", "weight"), (1.5, 1 / 1.5)):
            value = float(f"{getattr(chosen.cache, key) * factor:.3g}")
            if key == "weight" and value >= 1:
                continue
            near = chosen.model_copy(update={"cache": chosen.cache.model_copy(update={key: value})})
            assert perplexity(near) >= least - 1e-9, (key, value)


def test_a_text_without_lines_is_refused_and_nothing_is_infinite(data: Path) -> None:
    loaded = counting_model(data, {"cache": CACHE})
    with pytest.raises(UserError, match="no line to choose the settings on"):
        tuned_scoring(loaded, [], loaded.recipe.scoring, None, lambda _: None)
    trials: list[Trial] = []
    tuned_scoring(loaded, [""], loaded.recipe.scoring, None, trials.append)
    assert all(math.isfinite(trial.perplexity) for trial in trials)
