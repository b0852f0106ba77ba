"""Training FLOPs by the paper's definition (`docs/explanation/paper.md#counting`)."""

from __future__ import annotations

from typing import NamedTuple

from mtmoe.config import Recipe
from mtmoe.model.description import describe_recipe
from mtmoe.training.losses.sampled_softmax import mean_num_drawn

FLOPS_PER_OPERATION = 6
"""A multiply-add is 2, and the backward pass takes twice the forward pass."""


class TrainingOperations(NamedTuple):
    """Multiply-adds of the forward pass in training, output layer included.

    A sampled softmax counts the classes that are drawn, on average and each once, and the label.
    """

    per_source_token: int
    per_target_token: int

    def flops(self, num_source_tokens: float, num_target_tokens: float) -> float:
        """Return the FLOPs of forward and backward pass; padding and element-wise work are not counted."""
        operations = self.per_source_token * num_source_tokens + self.per_target_token * num_target_tokens
        return FLOPS_PER_OPERATION * operations


def training_operations(recipe: Recipe, vocabulary_size: int) -> TrainingOperations:
    """Return the multiply-adds of one token of either side."""
    model = describe_recipe(recipe, vocabulary_size)
    per_source = sum(layer.operations for layer in model.layers if layer.name.startswith("encoder"))
    per_target = model.operations - per_source
    if recipe.training.sampled_softmax is not None:
        output = recipe.model.width * (mean_num_drawn(recipe.training.sampled_softmax.num_samples, vocabulary_size) + 1)
        per_target += round(output) - model.layers[-1].operations
    return TrainingOperations(per_source, per_target)
