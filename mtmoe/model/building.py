"""Model building: the network that a recipe's task names."""

from __future__ import annotations

from mtmoe.config import Recipe
from mtmoe.model.language_model import LanguageModel
from mtmoe.model.moe.layer_parallelism import ModelParallelism, one_process
from mtmoe.model.ops.keyed_noise import SideNoise
from mtmoe.model.ops.shapes_alone import shapes_alone
from mtmoe.model.translation import TranslationModel

Network = TranslationModel | LanguageModel


def build_model(
    recipe: Recipe,
    vocabulary_size: int,
    *,
    parallelism: ModelParallelism = one_process,
    noise: SideNoise | None = None,
) -> Network:
    """Build the network with random weights, in training mode, on torch's default device.

    Args:
        parallelism: how the experts of each layer are spread over processes.
        noise: where dropout and gates have their random numbers from; None for torch's own generator.
    """
    build = LanguageModel if recipe.task == "language-model" else TranslationModel
    return build(recipe.model, vocabulary_size, parallelism, noise)


def meta_model(recipe: Recipe, vocabulary_size: int) -> Network:
    """Build the whole network without memory: its parameters have shapes alone."""
    with shapes_alone():
        return build_model(recipe, vocabulary_size)
