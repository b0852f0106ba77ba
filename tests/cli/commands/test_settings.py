"""Lists of settings for people and programs."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from mtmoe.config import describe_settings
from tests.shipped import recipes_of_all_kinds

KEYS = [setting.key for setting in describe_settings()]


def _titles(text: str) -> list[str]:
    """The keys at the beginnings of paragraphs."""
    return [re.split(r"[ :\n]", paragraph)[0] for paragraph in text.split("\n\n")]


def test_every_setting_is_listed_within_80_columns_and_without_words_of_python(invoke: Any) -> None:
    text = invoke("settings").stdout
    assert _titles(text) == KEYS
    assert max(map(len, text.splitlines())) <= 80
    assert not re.search(r"FieldInfo|Annotated|Optional|\bNone\b|<class|typing\.", text)


@pytest.mark.parametrize("recipe", recipes_of_all_kinds())
def test_every_setting_of_a_recipe_is_told_within_80_columns(invoke: Any, recipe: str) -> None:
    text = invoke("describe", recipe, "--settings").stdout
    assert _titles(text) == KEYS
    assert max(map(len, text.splitlines())) <= 80
    assert not re.search(r"FieldInfo|Annotated|Optional|\bNone\b|[=,] null|<class|typing\.", text)
    assert f'name = "{recipe}"' in text


def test_settings_with_a_word_in_key_or_meaning_are_listed(invoke: Any) -> None:
    text = invoke("settings", "BEAM").stdout
    assert (
        "decoding.beam_size\n    whole number from 1 to 1,000; default 5\n    Hypotheses kept at each step.\n" in text
    )
    assert "decoding.diverse_beams\n    table; absent by default\n" in text
    assert "training.max_steps" not in text
    assert _titles(invoke("settings", "beam", "batch").stdout) == ["decoding.batch_tokens"]
    assert "training.schedule.kind" in _titles(invoke("settings", "cosine").stdout)


def test_a_unit_is_told_beside_the_type(invoke: Any) -> None:
    text = invoke("settings", "timeout").stdout
    assert "number from 0.1 to 86,400, in seconds; default 600.0" in text


def test_a_word_that_no_setting_has_gets_a_guess(invoke: Any) -> None:
    result = invoke("settings", "baem")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: no setting has the word 'baem'; did you mean 'beam'?\n`mtmoe settings` lists all of them\n"
    )
    assert "no setting has all of the words 'beam', 'licen" in invoke("settings", "beam", "license").stderr
    assert result.stdout == ""


def test_programs_get_every_setting_with_its_choices(invoke: Any) -> None:
    rows = {row["setting"]: row for row in json.loads(invoke("settings", "--json").stdout)}
    assert list(rows) == KEYS
    assert rows["model.attention"] == {
        "setting": "model.attention",
        "type": "one of additive, product",
        "default": '"product"',
        "unit": "",
        "meaning": "Score function: additive is eq. 21 (GNMT), product is eq. 22.",
        "choices": ["additive", "product"],
        "is_table": False,
    }
    assert [row["setting"] for row in json.loads(invoke("settings", "cosine", "--json").stdout)]


def test_the_values_of_a_recipe_stand_beside_its_settings(invoke: Any) -> None:
    text = invoke("describe", "multi30k-en-de", "--settings", "--set", "decoding.beam_margin=1.5").stdout
    for line in (
        "decoding.beam_margin = 1.5",
        "decoding.sampling: absent",
        'data.target_language = "de"',
        "data.test: ",
        "model.encoder_moe_after = [",
    ):
        assert f"\n{line}" in text
    assert "\ndecoding.sampling.top_k\n" in text  # of a table that is absent
    assert '\ndata.train[].format = "huggingface"\n' in text
    assert "\ndata.train[tsv].source_column\n" in text


def test_values_of_several_tables_are_told_side_by_side(invoke: Any) -> None:
    text = invoke("describe", "demo-three", "--settings").stdout
    assert "\ndata.train: 2 tables\n" in text
    assert '\ndata.train[].direction = "en-fr", "en-de"\n' in text
