"""The recipe file that `mtmoe init` writes: its text, taken by the strict reader; nothing is ever overwritten."""

from __future__ import annotations

import tomllib
from pathlib import Path

from mtmoe.config import recipe_from_dict
from mtmoe.corpus_survey.survey import Survey, recipe_data
from mtmoe.errors import UserError
from mtmoe.recipe_sizing.commented_toml import commented_toml
from mtmoe.recipe_sizing.reasons import heading, reasons_of
from mtmoe.recipe_sizing.recipe_settings import recipe_settings
from mtmoe.recipe_sizing.sizing import Sizing
from mtmoe.system.atomic_files import write_atomically


def recipe_text(survey: Survey, sizing: Sizing, minutes: float, name: str) -> str:
    """Return the commented recipe, which the strict reader has taken.

    Raises:
        UserError: a path in it is not UTF-8.
    """
    settings = recipe_settings(name, recipe_data(survey.corpus, survey.languages), sizing.choice)
    recipe = recipe_from_dict(settings, Path(f"{name}.toml"))
    text = commented_toml(settings, heading(survey, sizing, minutes), reasons_of(survey, sizing))
    assert recipe_from_dict(tomllib.loads(text), Path(f"{name}.toml")) == recipe
    return text


def check_is_new(path: Path) -> None:
    """Raise a UserError where there is something under that name: a recipe is never overwritten."""
    if path.exists() or path.is_symlink():
        raise UserError(
            f"{path}: is there already, and init overwrites nothing",
            fix="give another name with --output NAME.toml, or remove it first",
        )
    if not path.absolute().parent.is_dir():
        raise UserError(f"{path}: there is no directory {path.parent}", fix="make it first, or name another place")


def write_recipe(path: Path, text: str) -> None:
    """Write a new recipe file, whole or not at all.

    Raises:
        UserError: there is one by now.
    """
    check_is_new(path)
    write_atomically(path, text.encode("utf-8"))
