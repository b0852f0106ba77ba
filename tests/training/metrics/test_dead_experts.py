"""Warnings of dead and overloaded experts: when, how often, and what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mtmoe.checkpoint import ExpertWarningsState
from mtmoe.config.settings import Training
from mtmoe.training.metrics.dead_experts import ExpertWarnings
from mtmoe.training.metrics.expert_usage import LayerUsage

GOOD, DEAD = [2, 2, 2, 2], [2, 2, 2, 0]


def _warnings(**settings: Any) -> ExpertWarnings:
    return ExpertWarnings(Training(max_steps=1, **settings))


def _layers(tokens: list[int], **losses: float) -> dict[str, LayerUsage]:
    return {"m": LayerUsage(np.array(tokens), losses=losses)}


def test_a_warning_names_only_weights_of_losses_that_the_gate_has() -> None:
    for losses, named in (({"importance": 0.1}, False), ({"importance": 0.1, "load": 0.1}, True)):
        overloaded, dead = _warnings(overload_warning_steps=1).add(_layers([9, 0, 0, 0, 0, 0], **losses), 1)
        for text in (overloaded, dead):
            assert ("load_loss_weight" in text) == named
        assert "importance_loss_weight" in dead


@pytest.mark.parametrize(
    ("windows", "warned"),
    [
        ([DEAD, DEAD, DEAD, DEAD], [1]),  # once, when 10 steps in a row are reached
        ([DEAD, GOOD, DEAD, DEAD], [3]),  # from the beginning, after a good window
        ([DEAD, DEAD, GOOD, DEAD, DEAD], [1, 4]),
    ],
)
def test_steps_in_a_row_are_counted_and_told_once(windows: list[list[int]], warned: list[int]) -> None:
    warnings = _warnings(overload_warning_steps=10)
    assert [number for number, tokens in enumerate(windows) if warnings.add(_layers(tokens), 5)] == warned


def test_an_overload_is_told_above_the_ratio_alone() -> None:
    for ratio, num_warnings in ((1.2, 1), (1.3, 0)):
        warnings = _warnings(overload_warning_steps=1, overload_warning_ratio=ratio)
        assert len(warnings.add(_layers([5, 3, 4, 4]), 1)) == num_warnings


def test_counts_that_are_saved_and_loaded_go_on() -> None:
    first, second = _warnings(overload_warning_steps=10), _warnings(overload_warning_steps=10)
    assert first.add(_layers(DEAD), 9) == []
    second.load_state(ExpertWarningsState.model_validate_json(first.state().model_dump_json()))
    assert second.add(_layers(DEAD), 1) == first.add(_layers(DEAD), 1) != []
