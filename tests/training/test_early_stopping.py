"""Which validation is the best, and when there are enough without progress."""

from __future__ import annotations

from typing import Any

import pytest

from mtmoe.config.settings import Validation
from mtmoe.training.early_stopping import ValidationHistory


def _history(values: list[float], **settings: Any) -> ValidationHistory:
    history = ValidationHistory(Validation(**settings))
    for step, value in enumerate(values, start=1):
        history.add(step, value)
    return history


@pytest.mark.parametrize(
    ("metric", "best"), [("bleu", [(2, 3.0), (3, 3.0), (1, 1.0)]), ("loss", [(1, 1.0), (2, 3.0), (3, 3.0)])]
)
def test_more_bleu_and_less_loss_are_better_and_of_equal_values_the_earlier(metric, best) -> None:
    history = _history([1.0, 3.0, 3.0], metric=metric)
    assert history.best == best
    assert history.best_steps(2) == [step for step, _ in best[:2]]


def test_patience_counts_validations_since_the_best() -> None:
    stopping: dict[str, Any] = {"metric": "loss", "early_stopping": {"patience": 2}}
    assert not _history([3.0, 2.0, 2.0], **stopping).must_stop()
    assert _history([3.0, 2.0, 2.0, 2.5], **stopping).must_stop()
    assert not _history([3.0, 2.0, 2.0, 2.5, 1.9], **stopping).must_stop()
    assert not _history([2.0, 3.0, 3.0, 3.0], metric="loss").must_stop()


def test_values_of_another_metric_are_not_gone_on_from() -> None:
    history = _history([], metric="loss")
    history.load_state("bleu", [(5, 30.0)], 1)
    assert (history.best, history.validations_without_progress) == ([], 0)
    history.load_state("loss", [(5, 1.5)], 1)
    assert (history.best, history.validations_without_progress) == ([(5, 1.5)], 1)
