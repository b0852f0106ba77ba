"""Training FLOPs by the paper's definition (`docs/explanation/paper.md#counting`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mtmoe.config import Recipe
from mtmoe.config.settings import Model
from mtmoe.model.description import ModelDescription, describe_language_model, describe_model, describe_recipe
from mtmoe.training.losses.sampled_softmax import mean_num_drawn

FLOPS_PER_OPERATION = 6
"""A multiply-add is 2, and the backward pass takes twice the forward pass."""


class TrainingOperations(NamedTuple):
    """Multiply-adds of the forward pass in training, output layer included.

    A sampled softmax counts the classes that are drawn, on average and each once, and the label. What is read twice
    (``training.consistency``) counts twice, and a teacher a third, for it has no backward pass.
    """

    per_source_token: float
    per_target_token: float

    def flops(self, num_source_tokens: float, num_target_tokens: float) -> float:
        """Return the FLOPs of forward and backward pass; padding and element-wise work are not counted."""
        operations = self.per_source_token * num_source_tokens + self.per_target_token * num_target_tokens
        return FLOPS_PER_OPERATION * operations


def training_operations(recipe: Recipe, vocabulary_size: int, teachers: Sequence[Model] = ()) -> TrainingOperations:
    """Return the multiply-adds of one token of either side.

    Args:
        teachers: shapes of the networks that teach.
    """
    model = describe_recipe(recipe, vocabulary_size)
    per_source, per_target = _of_sides(model)
    if recipe.training.sampled_softmax is not None:
        output = recipe.model.width * (mean_num_drawn(recipe.training.sampled_softmax.num_samples, vocabulary_size) + 1)
        per_target += round(output) - model.layers[-1].operations
    times = recipe.training.num_readings
    describe = describe_language_model if recipe.task == "language-model" else describe_model
    of_teachers = [_of_sides(describe(shape, vocabulary_size)) for shape in teachers]
    return TrainingOperations(
        times * per_source + sum(source for source, _ in of_teachers) / 3,
        times * per_target + sum(target for _, target in of_teachers) / 3,
    )


def _of_sides(model: ModelDescription) -> tuple[int, int]:
    """Return the operations of a source token and of a target token."""
    of_source = sum(layer.operations for layer in model.layers if layer.name.startswith("encoder"))
    return of_source, model.operations - of_source
