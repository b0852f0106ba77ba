"""How many calls lie between the command and the network: few enough to be read in one go."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from mtmoe.cli import main

from mtmoe.config import recipe_to_toml
from mtmoe.model.translation import TranslationModel
from tests.paths import ROOT

MOST_CALLS = 5


def test_from_mtmoe_train_to_the_models_forward_are_few_calls(toy: Any, toy_data: Path, tmp_path: Path, monkeypatch):
    chains, original = [], TranslationModel.forward

    def forward(self: TranslationModel, batch: Any) -> Any:
        if self.training:
            chains.append(_calls_of_ours())
        return original(self, batch)

    monkeypatch.setattr(TranslationModel, "forward", forward)
    (tmp_path / "recipe.toml").write_text(recipe_to_toml(toy(max_steps=1)))
    command = ["train", str(tmp_path / "recipe.toml"), str(tmp_path / "run"), "--data", str(toy_data)]
    result = CliRunner().invoke(main, [*command, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    [chain] = chains
    assert chain[0] == "train", "the function of the command"
    assert len(chain) <= MOST_CALLS, " -> ".join([*chain, "forward"])


def _calls_of_ours() -> list[str]:
    """Functions of the repository on the stack, from the command's own to the one that calls the model."""
    found, frame = [], sys._getframe(2)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if any(path.is_relative_to(ROOT / folder) for folder in ("mtmoe", "cli")):
            found.append(frame.f_code.co_name)
        if frame.f_code.co_filename.endswith("commands/train.py"):
            break
        frame = frame.f_back
    return found[::-1]
