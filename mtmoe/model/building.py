"""The network that a recipe's task names."""

from __future__ import annotations

import torch

from mtmoe.config import Recipe
from mtmoe.model.language_model import LanguageModel
from mtmoe.model.translation import TranslationModel

Network = TranslationModel | LanguageModel


def build_model(recipe: Recipe, vocabulary_size: int) -> Network:
    """Random weights, in training mode, on torch's default device."""
    build = LanguageModel if recipe.task == "language-model" else TranslationModel
    return build(recipe.model, vocabulary_size)


def meta_model(recipe: Recipe, vocabulary_size: int) -> Network:
    """The same without memory: its parameters have shapes alone."""
    with torch.device("meta"):
        return build_model(recipe, vocabulary_size)
