"""Vocabularies that are taken from another run instead of learned."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from mtmoe.config import Recipe, recipe_from_dict
from mtmoe.data.prepared.preparation import open_prepared, prepare
from mtmoe.data.subwords.vocabularies import settings_to_take
from mtmoe.errors import UserError
from tests.data.prepared.test_multilingual import multilingual
from tests.toy import counting_settings, prepared_toy, toy_settings


def recipe_taking(folder: Path, subwords: dict[str, Any]) -> Recipe:
    """The toy recipe in a folder of its own, so that its text and subwords would be others."""
    folder.mkdir()
    return recipe_from_dict(toy_settings(folder) | {"subwords": subwords}, folder / "taking.toml")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data with a vocabulary of its own: 300 subwords."""
    return prepared_toy(tmp_path_factory.mktemp("toy"))[1]


def language_model_recipe(folder: Path, subwords: dict[str, Any]) -> Recipe:
    folder.mkdir()
    return recipe_from_dict(counting_settings(folder) | {"subwords": subwords}, folder / "lm.toml")


def test_a_language_model_takes_the_very_file_of_a_translation_run(data: Path, tmp_path: Path) -> None:
    subwords = settings_to_take(data)
    assert subwords == {"file": str(data / "subwords.model"), "vocabulary_size": 300}
    prepared = prepare(language_model_recipe(tmp_path / "lm", subwords), tmp_path / "data", tmp_path / "cache").prepared
    assert prepared.subwords_path.read_bytes() == (data / "subwords.model").read_bytes()
    assert max(max(prepared.train.target(i).tolist(), default=0) for i in range(50)) > 50  # subwords, not 12 words


def test_words_can_be_taken_too(tmp_path: Path) -> None:
    learned = language_model_recipe(tmp_path / "a", counting_settings(tmp_path)["subwords"])
    first = prepare(learned, tmp_path / "first", tmp_path / "cache").prepared
    subwords = settings_to_take(tmp_path / "first")
    assert (subwords["algorithm"], subwords["vocabulary_size"]) == ("word", 16)
    second = prepare(language_model_recipe(tmp_path / "b", subwords), tmp_path / "second", tmp_path / "cache").prepared
    assert second.subwords_path.name == "words.txt"
    assert second.subwords_path.read_bytes() == first.subwords_path.read_bytes()


def test_the_contents_of_the_file_are_part_of_what_data_is_made_of(data: Path, tmp_path: Path) -> None:
    (tmp_path / "subwords.model").write_bytes((data / "subwords.model").read_bytes())
    recipe = recipe_taking(tmp_path / "a", settings_to_take(tmp_path))
    prepared = prepare(recipe, tmp_path / "data", tmp_path / "cache").prepared
    assert prepare(recipe, tmp_path / "data", tmp_path / "cache").reused
    prepared.check_suits(recipe)
    elsewhere = recipe.model_copy(
        update={"subwords": recipe.subwords.model_copy(update={"file": str(data / "subwords.model")})}
    )
    prepared.check_suits(elsewhere)  # the same bytes
    open_prepared(data).check_suits(recipe)  # which learned the very subwords that the recipe takes
    learning = recipe.model_copy(update={"subwords": recipe.subwords.model_copy(update={"file": ""})})
    with pytest.raises(UserError, match=r"subwords\.learned"):
        prepared.check_suits(learning)
    with (tmp_path / "subwords.model").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError, match=r"data\.vocabulary\.sha256 is"):
        prepare(recipe, tmp_path / "data", tmp_path / "cache")
    with pytest.raises(UserError, match=r"is another vocabulary than subwords\.file = "):
        prepared.check_suits(recipe)


def test_data_of_before_this_setting_is_still_the_same(data: Path) -> None:
    """A setting that came later is no ingredient at its default: else all older data, and runs with it, are refused."""
    ingredients = json.loads((data / "manifest.json").read_text())["ingredients"]
    assert "data.vocabulary.sha256" not in ingredients
    assert {key for key in ingredients if key.startswith("subwords.")} == {
        "subwords.algorithm",
        "subwords.byte_fallback",
        "subwords.character_coverage",
        "subwords.sample_sentences",
        "subwords.user_symbols",
        "subwords.vocabulary_size",
    }


def test_data_with_an_extended_vocabulary_is_not_that_of_a_recipe_that_learns_its_own(
    data: Path, tmp_path: Path
) -> None:
    subwords = {"vocabulary_size": 300, "extends": str(data / "subwords.model")}
    extending = recipe_taking(tmp_path / "a", subwords)
    prepared = prepare(extending, tmp_path / "data", tmp_path / "cache").prepared
    prepared.check_suits(extending)
    learning = extending.model_copy(update={"subwords": extending.subwords.model_copy(update={"extends": ""})})
    for made, recipe in ((prepared, learning), (open_prepared(data), extending)):
        with pytest.raises(UserError, match=r"subwords\.extended_by"):
            made.check_suits(recipe)
    ours = json.loads((tmp_path / "data" / "manifest.json").read_text())["ingredients"]
    assert ours["data.vocabulary.sha256"] == sha256((data / "subwords.model").read_bytes()).hexdigest()


def test_a_vocabulary_without_a_language_token_is_an_error_that_names_both(data: Path, tmp_path: Path) -> None:
    settings = multilingual(tmp_path).model_dump(mode="json", exclude_none=True)
    recipe = recipe_from_dict(settings | {"subwords": settings_to_take(data)}, tmp_path / "recipe.toml")
    with pytest.raises(UserError) as raised:
        prepare(recipe, tmp_path / "data", tmp_path / "cache")
    assert f"subwords.file = '{data / 'subwords.model'}' lacks <2fr>, <2de>, <2en>" in str(raised.value)


@pytest.mark.parametrize(
    ("subwords", "message"),
    [
        ({"file": "nowhere/subwords.model"}, "subwords.file = 'nowhere/subwords.model': no such file"),
        ({"vocabulary_size": 400}, r"subwords.vocabulary_size = 400, but subwords.file = .* has 300 entries"),
        ({"algorithm": "word", "byte_fallback": False}, 'is not a vocabulary of subwords.algorithm = "word"'),
        ({"sample_sentences": 7}, "sample_sentences = 7 does nothing with file = "),
        ({"user_symbols": ["<2fr>"]}, "user_symbols = .* does nothing with file = "),
    ],
)
def test_what_does_not_fit_is_an_error(data: Path, tmp_path: Path, subwords: dict[str, Any], message: str) -> None:
    make = language_model_recipe if "algorithm" in subwords else recipe_taking

    def prepared() -> None:
        prepare(make(tmp_path / "a", settings_to_take(data) | subwords), tmp_path / "data", tmp_path / "cache")

    with pytest.raises(UserError, match=message):
        prepared()


def test_a_directory_without_a_vocabulary_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no vocabulary"):
        settings_to_take(tmp_path)
