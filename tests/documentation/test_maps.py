"""The maps of a search step and of a training step are the walks that the code takes, call by call."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from mtmoe.cli import main

from mtmoe.inference.compiled.compiled_search import CompiledSearch
from mtmoe.model.translation import TranslationModel
from tests.cli.conftest import recipe_text, write_text
from tests.paths import ROOT

MAPS = ROOT / "docs" / "explanation"
MOST_CALLS = 6  # from the command to a step of the decoder


def drawn(page: str) -> list[str]:
    """Return the names of the functions that the first block of a map draws, outermost first."""
    text = (MAPS / page).read_text(encoding="utf-8")
    block = text.partition("```text\n")[2].partition("```")[0]
    return [re.sub(r"^\s*(?:mtmoe )?(?:\w+\.)?(\w+).*", r"\1", line) for line in block.splitlines()]


def walk_to(model: type, method: str, arguments: list[str], text: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the first walk from a command to a method of the model, both included, by name."""
    walks: list[list[tuple[str, str]]] = []
    original = getattr(model, method)

    def watched(self: Any, *values: Any) -> Any:
        inside = [frame for frame in traceback.extract_stack() if Path(frame.filename).is_relative_to(ROOT)]
        places = [(str(Path(frame.filename).relative_to(ROOT)), frame.name) for frame in inside]
        walks.append([(file, name) for file, name in places if file.startswith(("mtmoe/", "cli/"))])
        return original(self, *values)

    monkeypatch.setattr(model, method, watched)
    result = CliRunner().invoke(main, arguments, input=text)
    assert result.exit_code == 0, result.stderr
    first = next(place for place, (file, _) in enumerate(walks[0]) if file.startswith("cli/commands/"))
    return [*(name for _, name in walks[0][first:]), method]


@pytest.fixture
def one_thread() -> Any:
    """One thread: several searches would each begin in a thread of their own, with a stack of its own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> tuple[list[str], str]:
    """The walk to the network of a training, and the run that it made."""
    write_text(tmp_path)
    recipe, run = tmp_path / "tiny.toml", str(tmp_path / "run")
    recipe.write_text(recipe_text(tmp_path), encoding="utf-8")
    train = ["train", str(recipe), run, "--device", "cpu", "--set", "training.max_steps=2"]
    with monkeypatch.context() as watched:
        return walk_to(TranslationModel, "forward", train, "", watched), run


def test_the_map_of_a_training_step_is_the_walk_of_the_code(trained: tuple[list[str], str]) -> None:
    assert trained[0] == drawn("map-of-a-training-step.md")


def test_the_map_of_a_search_step_is_the_walk_of_the_code(
    trained: tuple[list[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = walk_to(CompiledSearch, "_own_steps", ["translate", trained[1]], "the man\n", monkeypatch)
    assert walk == drawn("map-of-a-search-step.md")
    assert len(walk) - 1 <= MOST_CALLS
