from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtmoe.config import Recipe, recipe_from_dict
from tests.toy import prepared_toy, toy_settings

Toy = Callable[..., Recipe]


@pytest.fixture(scope="session")
def toy_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the toy's text and its prepared data."""
    directory = tmp_path_factory.mktemp("toy")
    prepared_toy(directory)
    return directory


@pytest.fixture
def toy_data(toy_place: Path) -> Path:
    return toy_place / "data"


@pytest.fixture
def toy(toy_place: Path) -> Toy:
    """Make the toy's recipe with other training settings, and other tables by name."""

    def make(tables: dict[str, Any] | None = None, **training: Any) -> Recipe:
        settings = toy_settings(toy_place, **training)
        for table, values in (tables or {}).items():
            settings[table] = settings[table] | values
        return recipe_from_dict(settings, toy_place / "toy.toml")

    return make
