"""Frozen layers (``training.start.frozen``): the parameters that a training leaves as they are."""

from __future__ import annotations

from torch import nn

from mtmoe.config import Recipe
from mtmoe.config.nearest_names import did_you_mean
from mtmoe.config.settings import Start
from mtmoe.errors import UserError
from mtmoe.model.building import meta_model
from mtmoe.model.layer_names import named_layers
from mtmoe.model.parameter_roles import parameter_roles


def check_frozen(recipe: Recipe, start: Start) -> None:
    """Raise UserError for a name that is no layer of the recipe's network, and where nothing is left to train."""
    if start.frozen:
        frozen_parameters(meta_model(recipe, recipe.subwords.vocabulary_size), start)


def frozen_parameters(model: nn.Module, start: Start | None) -> frozenset[str]:
    """Return the names of the parameters that are not trained.

    Raises:
        UserError: as :func:`check_frozen`.
    """
    layers = named_layers(model)
    found: set[str] = set()
    for name in start.frozen if start is not None else ():
        if name not in layers:
            raise UserError(
                f"training.start.frozen names {name!r}, which is no layer of the network{did_you_mean(name, layers)}",
                fix=f"there are: {', '.join(sorted(layers))}",
            )
        found |= layers[name]
    if found and found | parameter_roles(model).choice_biases == {name for name, _ in model.named_parameters()}:
        raise UserError("training.start.frozen names all layers: nothing is left to train", fix="leave one of them out")
    return frozenset(found)


def freeze(model: nn.Module, start: Start | None) -> dict[str, nn.Parameter]:
    """Take the frozen parameters out of the backward pass, and return those that learn from it by name."""
    left_out = frozen_parameters(model, start) | parameter_roles(model).choice_biases
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in left_out)
    return {name: parameter for name, parameter in model.named_parameters() if name not in left_out}
