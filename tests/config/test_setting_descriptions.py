"""Every setting and table is described, in words."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mtmoe.config import describe_settings, load_recipe, shipped_recipes
from mtmoe.config.setting_descriptions import SettingDescription
from mtmoe.config.settings import Recipe, Settings
from mtmoe.config.settings.about import GROUPS
from mtmoe.config.types_in_words import tables_in
from tests.shipped import recipes_of_all_kinds

SETTINGS = {setting.key: setting for setting in describe_settings()}


def _fields(table: type[Settings], walked: set[type[Settings]]) -> Iterator[tuple[str, str]]:
    """Name and sentence of every field of every table, each table once."""
    if table in walked:
        return
    walked.add(table)
    for name, field in table.model_fields.items():
        yield name, field.description or ""
        for inner in tables_in(field.annotation):
            yield from _fields(inner, walked)


def test_every_field_of_every_table_is_described() -> None:
    described = {(key.rpartition(".")[2], setting.meaning) for key, setting in SETTINGS.items()}
    for name, sentence in _fields(Recipe, set()):
        found = [meaning for key, meaning in described if key == name and sentence in meaning]
        assert found, f"{name}: {sentence}"


def test_every_key_is_described_once() -> None:
    assert len(SETTINGS) == len(describe_settings()) > 150


@pytest.mark.parametrize("word", ["FieldInfo", "Annotated", "Optional", "Union", "None", "<class", "typing", "mtmoe."])
def test_no_description_has_a_word_of_python(word: str) -> None:
    for setting in SETTINGS.values():
        assert word not in setting.type, setting
        assert word not in setting.default, setting


@pytest.mark.parametrize(
    ("key", "type_", "default", "unit"),
    [
        ("model.width", "whole number from 8 to 65,536, a multiple of 8", "256", ""),
        ("model.attention", "one of additive, product", '"product"', ""),
        ("model.residual", "true or false", "true", ""),
        ("model.dropout", "number, 0 or more and less than 1", "0.3", ""),
        ("model.encoder_moe_after", "list of whole numbers from 1 to 100", "[]", ""),
        ("model.moe.num_experts", "whole number, 1 or more", "16", ""),
        ("model.moe.hierarchy", "table", "absent", ""),
        ("training", "table", "required", ""),
        ("training.max_steps", "whole number, 1 or more", "required", "steps"),
        ("training.batch_tokens", "whole number, 1 or more", "2048", "tokens"),
        ("training.distributed.collective_timeout_seconds", "number from 0.1 to 86,400", "600.0", "seconds"),
        ("training.validation", "table", "its own defaults", ""),
        ("decoding.beam_size", "whole number from 1 to 1,000", "5", ""),
        ("decoding.beam_margin", "number, more than 0", "absent", ""),
        ("decoding.sampling.temperature", "number from 1e-6 to 100", "1.0", ""),
        ("data.train", "list of tables, 1 or more", "required", ""),
        ("data.train[].format", "one of text, tsv, jsonl, tmx, huggingface, sacrebleu, lines", "required", ""),
        ("data.train[].name", "text of letters, digits and any of _ . -", "required", ""),
        ("data.train[tsv].source_column", "whole number from 1 to 10,000", "1", ""),
        ("data.train[tsv].file", "table; as data.train[text].source_file", "required", ""),
        ("data.train[text].source_file.sha256", "text of 64 hexadecimal digits, or empty", '""', ""),
        ("data.test", 'list of tables or "split"; as data.train', "required", ""),
        ("subwords.user_symbols", "list of texts", "[]", ""),
    ],
)
def test_types_are_told_as_people_say_them(key: str, type_: str, default: str, unit: str) -> None:
    setting = SETTINGS[key]
    assert (setting.type, setting.default, setting.unit) == (type_, default, unit)


def test_a_setting_to_choose_has_its_choices() -> None:
    assert SETTINGS["model.attention"].choices == ("additive", "product")
    assert SETTINGS["data.train[].format"].choices[0] == "text"
    assert SETTINGS["model.width"].choices == ()


def test_a_table_comes_before_its_settings_and_says_what_there_is_without_it() -> None:
    keys = list(SETTINGS)
    for key in keys:
        outer = key.rpartition(".")[0].partition("[")[0]
        assert not outer or keys.index(outer) < keys.index(key)
    sampling = SETTINGS["decoding.sampling"]
    assert sampling.is_table
    assert sampling.meaning.startswith("Words are drawn")
    assert sampling.meaning.endswith("Absent: beam search.")


def test_a_description_is_a_record_of_plain_values() -> None:
    assert isinstance(SETTINGS["model.width"], SettingDescription)
    for setting in SETTINGS.values():
        assert all(isinstance(text, str) for text in setting[:5])


@pytest.mark.parametrize("name", recipes_of_all_kinds())
def test_every_shipped_recipe_is_in_a_group(name: str) -> None:
    assert load_recipe(name).about.group in GROUPS


def test_no_group_is_empty() -> None:
    assert {load_recipe(name).about.group for name in shipped_recipes()} == set(GROUPS)
