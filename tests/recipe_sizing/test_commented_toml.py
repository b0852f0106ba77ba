"""TOML with comments."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mtmoe.recipe_sizing.commented_toml import commented_toml

SETTINGS: dict[str, Any] = {
    "name": "mine",
    "data": {
        "valid": "split",
        "train": [{"name": "a", "file": {"path": 'C:\\a "b" é\x7f'}}, {"name": "b", "weight": 0.5}],
        "held_out": {"valid_pairs": 10},
    },
    "model": {"width": 256, "residual": True, "encoder_moe_after": [1, 2], "moe": {"num_experts": 4}},
    "training": {"learning_rate": 0.0025, "adam_epsilon": 1e-09},
}


def test_what_is_written_is_read_again() -> None:
    assert tomllib.loads(commented_toml(SETTINGS, "Heading.", {"model.width": "Why."})) == SETTINGS


def test_reasons_stand_above_their_settings_in_80_columns() -> None:
    long = "It was chosen for a reason that takes more than a line to tell, as is often the case with reasons."
    reasons = {"model.width": long, "model.moe": "Experts.", "training.learning_rate": "Rate."}
    text = commented_toml(SETTINGS, "A heading. " * 12, reasons)
    assert max(map(len, text.splitlines())) <= 80
    assert "\n# Rate.\nlearning_rate = 0.0025\n" in text
    assert "\n# Experts.\n[model.moe]\n" in text
    assert "case with reasons.\nwidth = 256\n" in text


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_text_survives(value: str) -> None:
    assert tomllib.loads(commented_toml({"name": value}, "", {})) == {"name": value}
