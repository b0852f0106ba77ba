"""`training.curriculum`: what it takes, and which contradictions it tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtmoe.config import recipe_from_dict, recipe_to_toml
from mtmoe.config.recipe_reading import load_recipe
from mtmoe.errors import UserError
from tests.toy import counting_settings, toy_settings


def with_changes(folder: Path, *changes: dict[str, Any], **tables: Any) -> dict[str, Any]:
    settings = toy_settings(folder, curriculum=list(changes))
    return settings | tables


def test_a_recipe_with_changes_is_written_and_read_again(tmp_path: Path) -> None:
    settings = with_changes(tmp_path, {"source": "train", "weight": 0.5, "from_epoch": 3})
    recipe = recipe_from_dict(settings, tmp_path / "toy.toml")
    (tmp_path / "again.toml").write_text(recipe_to_toml(recipe))
    assert load_recipe(tmp_path / "again.toml") == recipe


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ([{"source": "train", "weight": 1.0}], "from_epoch = None and from_step = None of 'train': give one of them"),
        ([{"source": "train", "weight": 1.0, "from_epoch": 1, "from_step": 2}], "give one of them"),
        ([{"source": "trian", "weight": 1.0, "from_epoch": 1}], "no source is named 'trian'; there are train"),
        ([{"source": "replay", "weight": 1.0, "from_epoch": 1}], "no source is named 'replay'"),
        ([{"source": "train", "weight": 0.0, "from_step": 5}], "from 5 on all weights are 0, and there is no text"),
        (
            [{"source": "train", "weight": 2.0, "from_step": 5}, {"source": "train", "weight": 3.0, "from_step": 5}],
            "weight = 3.0 and weight = 2.0 of 'train' both from 5 on",
        ),
        (
            [{"source": "train", "weight": 2.0, "from_step": 5}, {"source": "train", "weight": 3.0, "from_epoch": 6}],
            "count all of them in epochs, or all in steps",
        ),
        ([{"source": "train", "weight": -1.0, "from_step": 5}], "weight = -1.0"),
    ],
)
def test_contradictions_are_told(tmp_path: Path, changes: list[dict[str, Any]], complaint: str) -> None:
    with pytest.raises(UserError) as error:
        recipe_from_dict(with_changes(tmp_path, *changes), tmp_path / "toy.toml")
    assert complaint in str(error.value)


def test_running_text_has_no_weights_to_change(tmp_path: Path) -> None:
    settings = counting_settings(tmp_path, curriculum=[{"source": "train", "weight": 2.0, "from_epoch": 1}])
    with pytest.raises(UserError, match=r"training\.bptt_steps = 10 the text runs on as it stands"):
        recipe_from_dict(settings, tmp_path / "counting.toml")
