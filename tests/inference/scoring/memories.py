"""A language model that counts, with random weights, and its text: to score with what it learns or remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mtmoe.checkpoint import Checkpoint, LoadedLanguageModel
from mtmoe.config import Recipe
from mtmoe.data.prepared.preparation import open_prepared, prepare
from mtmoe.data.subwords.vocabularies import load_vocabulary
from mtmoe.model.language_model import LanguageModel
from tests.toy import counting_recipe


def prepared_counting(directory: Path) -> Path:
    """The data directory of the counting text."""
    prepare(counting_recipe(directory), directory / "data", directory / "cache")
    return directory / "data"


def counting_model(data: Path, scoring: dict[str, Any], **model: Any) -> LoadedLanguageModel:
    """A model in float64 with random weights."""
    recipe: Recipe = counting_recipe(data.parent, {"model": model} if model else None)
    settings = type(recipe.scoring).model_validate(scoring)
    vocabulary = load_vocabulary(open_prepared(data).subwords_path)
    torch.manual_seed(3)
    network = LanguageModel(recipe.model, vocabulary.size).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return LoadedLanguageModel(
        recipe.model_copy(update={"scoring": settings}), vocabulary, network, Checkpoint("random", 0, data)
    )


def dev_lines(data: Path) -> list[str]:
    """The lines of the dev text."""
    return (data / "text" / "valid.target").read_text().split("\n")[:-1]
