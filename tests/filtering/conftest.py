"""Two runs of the toy's languages, one for each direction, trained for some steps, and a language model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mtmoe.config import recipe_from_dict
from mtmoe.data.prepared.preparation import prepare
from mtmoe.training.reporting import SilentReporter
from mtmoe.training.trainer import run_training
from tests.inference.conftest import untrained_language_model
from tests.parallel_text import write_lines
from tests.toy import toy_settings

_TRAINING: dict[str, Any] = {
    "max_steps": 24, "precision": "fp32", "save_every_steps": 24,
    "validation": {"every_steps": 24, "metric": "perplexity", "translate_sentences": 0},
}  # fmt: skip


class ToyRuns(NamedTuple):
    """folder: of the text. forward: from en into fr. backward: from fr into en. target_lm: of fr, untrained."""

    folder: Path
    forward: Path
    backward: Path
    target_lm: Path


@pytest.fixture(scope="session")
def toy_runs(tmp_path_factory: pytest.TempPathFactory) -> ToyRuns:
    """The trained runs: some seconds."""
    folder = tmp_path_factory.mktemp("toy_runs")
    settings = toy_settings(folder, **_TRAINING)
    _train(settings, folder, "forward")
    for source in (settings["data"][part][0] for part in ("train", "valid", "test")):
        source["source_file"], source["target_file"] = source["target_file"], source["source_file"]
    settings["data"] |= {"source_language": "fr", "target_language": "en"}
    _train(settings, folder, "backward")
    (folder / "lm").mkdir()
    target_lm = untrained_language_model(folder / "lm", folder / "forward" / "subwords.model")
    return ToyRuns(folder, folder / "forward", folder / "backward", target_lm)


def _train(settings: dict[str, Any], folder: Path, name: str) -> None:
    recipe = recipe_from_dict(settings, folder / f"{name}.toml")
    prepare(recipe, folder / f"data-{name}", folder / "cache")
    run_training(recipe, folder / name, folder / f"data-{name}", resume=False, reporter=SilentReporter())


class Shuffled(NamedTuple):
    """Two files, of which a part of the targets stands with other sources."""

    paths: tuple[Path, Path]
    is_shuffled: Sequence[bool]


@pytest.fixture
def shuffled(toy_runs: ToyRuns, tmp_path: Path) -> Shuffled:
    """200 pairs of the toy's training text with 60 shuffled targets."""
    texts = ((toy_runs.folder / f"train.{code}").read_text(encoding="utf-8").splitlines() for code in ("en", "fr"))
    sources, targets = map(list, zip(*list(dict.fromkeys(zip(*texts, strict=True)))[:200], strict=True))
    places = random.Random(1).sample(range(200), 60)
    moved = list(targets)
    for place, other in zip(places, [*places[1:], places[0]], strict=True):
        moved[place] = targets[other]
    paths = write_lines(tmp_path / "noisy.en", sources), write_lines(tmp_path / "noisy.fr", moved)
    return Shuffled(paths, [one != other for one, other in zip(moved, targets, strict=True)])
