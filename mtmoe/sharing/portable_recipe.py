"""A recipe for others: what it says of the machine that it was trained on is left out."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from mtmoe.config import Recipe
from mtmoe.system.home_directory import expanded

_PATHS = {"path", "run", "data_dir", "teachers"}
"""Settings whose values are paths, by the last part of their names; and ``subwords.file``."""


def portable_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe with the last part alone of each path of this machine, and addresses without names and
    passwords.

    Directories have names of people, customers and projects, which are not for whoever gets the model; and elsewhere
    the paths mean nothing.
    """
    settings = _shortened(recipe.model_dump(mode="json", exclude_none=True))
    settings["subwords"]["file"] = PurePath(settings["subwords"]["file"]).name
    return Recipe.model_validate(settings, strict=False)


def _shortened(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _shortened(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shortened(inner, key) for inner in value]
    if isinstance(value, str) and (key in _PATHS or (key == "dataset" and expanded(value).is_dir())):
        return PurePath(value).name
    if isinstance(value, str) and key == "url":
        parts = urlsplit(value)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return value
