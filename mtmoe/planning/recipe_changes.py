"""Changes to a recipe that save memory and leave the tokens of a step as they are."""

from __future__ import annotations

from typing import Any, NamedTuple

from mtmoe.config import Recipe


class Change(NamedTuple):
    """One change to a recipe. settings: new values of settings in ``[training]``, or of ``recompute_experts``. text:
    the
    command-line options for them.
    """

    settings: dict[str, Any]
    text: str


def savings(recipe: Recipe) -> list[Change]:
    """Return the changes that need less memory for the same batches."""
    training, moe = recipe.training, recipe.model.moe
    changes = []
    if recipe.has_experts and training.expert_optimizer == "adam":
        settings = {"expert_optimizer": "factored-adam"}
        changes.append(Change(settings, "--set training.expert_optimizer=factored-adam"))
    if recipe.has_experts and not moe.recompute_experts:
        changes.append(Change({"recompute_experts": True}, "--set model.moe.recompute_experts=true"))
    if training.ema is not None:
        changes.append(Change({"ema": None}, "--set training.ema=false"))
    return changes


def splits(recipe: Recipe) -> list[Change]:
    """Return the changes that divide the tokens of a step into other batches, the largest batch first."""
    training = recipe.training
    in_all = training.batch_tokens * training.gradient_accumulation
    changes = []
    for parts in (1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 128):
        settings = {"batch_tokens": in_all // parts, "gradient_accumulation": parts}
        if (
            parts != training.gradient_accumulation
            and in_all % parts == 0
            and in_all // parts % batch_unit(recipe) == 0
        ):
            changes.append(Change(settings, " ".join(f"--set training.{key}={n}" for key, n in settings.items())))
    return changes


def batch_unit(recipe: Recipe) -> int:
    """Return the tokens that training.batch_tokens is a multiple of: the longest sentence, or training.bptt_steps."""
    return recipe.training.bptt_steps or recipe.training.max_tokens_per_sentence


def with_changes(recipe: Recipe, group: list[Change]) -> Recipe:
    """Return the recipe with all changes of a group."""
    for change in group:
        recipe = with_settings(recipe, **change.settings)
    return recipe


def with_settings(recipe: Recipe, **settings: Any) -> Recipe:
    """Return the recipe with other settings of ``[training]``, or another ``recompute_experts``."""
    model = recipe.model
    if "recompute_experts" in settings:
        settings = dict(settings)
        moe = model.moe.model_copy(update={"recompute_experts": settings.pop("recompute_experts")})
        model = model.model_copy(update={"moe": moe})
    return recipe.model_copy(update={"model": model, "training": recipe.training.model_copy(update=settings)})
