"""Recipes that start from a run: whose vocabulary and old text they have, at first and when they are resumed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click
import pytest
from mtmoe.cli.options import own_recipe

from mtmoe.checkpoint import create_run
from mtmoe.checkpoint.run_data import link_data
from mtmoe.config import Recipe, recipe_from_dict, recipe_to_toml
from mtmoe.data.prepared.data_directory import open_prepared
from mtmoe.errors import UserError


@pytest.fixture
def base(toy, toy_data, tmp_path) -> Path:
    """A run that is not trained, with its text."""
    create_run(tmp_path / "base", toy(), open_prepared(toy_data).subwords_path)
    link_data(tmp_path / "base", toy_data)
    return tmp_path / "base"


@pytest.fixture
def read(toy, tmp_path):
    """Read the toy's recipe with a larger vocabulary as the command line does."""

    def recipe(*overrides: str, **more: Any) -> Recipe:
        settings = toy().model_dump(mode="json", exclude_none=True)
        settings["subwords"]["vocabulary_size"] = 350
        path = tmp_path / "mine.toml"
        path.write_text(recipe_to_toml(recipe_from_dict(settings, path)), encoding="utf-8")
        return own_recipe(str(path), overrides, **more)

    return recipe


def test_the_vocabulary_and_the_old_text_are_those_of_the_start_run(read, base):
    recipe = read("data.replay.weight=0.5", start_run=base)
    assert recipe.training.start is not None
    assert recipe.training.start.run == str(base)
    assert (recipe.subwords.vocabulary_size, recipe.subwords.file) == (300, str(base / "subwords.model"))
    assert recipe.data.replay is not None
    assert (recipe.data.replay.data_dir, recipe.data.replay.weight) == (str(base / "data"), 0.5)


def test_a_vocabulary_of_its_own_is_the_recipes(read, base):
    recipe = read("training.start.vocabulary=own", start_run=base)
    assert (recipe.subwords.vocabulary_size, recipe.subwords.file) == (350, "")


def test_an_extended_vocabulary_is_that_of_the_start_run_and_the_recipes_behind_it(read, base):
    recipe = read("training.start.vocabulary=extended", start_run=base)
    taken = recipe.subwords
    assert (taken.vocabulary_size, taken.extends, taken.extended_by) == (350, str(base / "subwords.model"), "both")
    other = read("training.start.vocabulary=extended", "data.target_language=nl", start_run=base)
    assert other.subwords.extended_by == "target"


def test_a_run_that_is_resumed_has_both_without_the_start_run(read, base, toy_data, tmp_path):
    recipe = read("data.replay.weight=0.5", start_run=base)
    create_run(tmp_path / "run", recipe, open_prepared(toy_data).subwords_path)
    shutil.rmtree(base)
    again = read("data.replay.weight=0.5", start_run=base, run_dir=tmp_path / "run", resume=True)
    assert again == recipe
    with pytest.raises(UserError, match=r"no run .*base: it does not exist"):
        read(start_run=base, run_dir=tmp_path / "run")


def test_two_vocabularies_are_one_too_many(read, base, tmp_path):
    with pytest.raises(click.UsageError, match="--subwords-of names a vocabulary, but with a start run"):
        read(start_run=base, subwords_of=base)
    taken = read("training.start.vocabulary=own", start_run=base, subwords_of=base)
    assert taken.subwords.vocabulary_size == 300
    shutil.copy(base / "subwords.model", tmp_path / "same.model")
    assert read(f"subwords.file={tmp_path}/same.model", start_run=base).subwords.file == str(base / "subwords.model")
    (tmp_path / "other.model").write_bytes(b"other")
    with pytest.raises(UserError, match=r"other.model' is another vocabulary than that of training.start.run"):
        read(f"subwords.file={tmp_path}/other.model", start_run=base)
    assert read().training.start is None


def test_old_text_without_a_run_or_a_directory_is_a_contradiction(read):
    with pytest.raises(UserError, match=r"data.replay.weight = 0.5 has no text: name a data directory"):
        read("data.replay.weight=0.5")
