"""Changes to a recipe that save memory and leave the tokens of a step as they are."""

from __future__ import annotations

from typing import Any, NamedTuple

from mtmoe.config import Recipe


class Change(NamedTuple):
    """Settings of training (and recompute_experts) in place of a recipe's, and the options that say so."""

    settings: dict[str, Any]
    text: str


def savings(recipe: Recipe) -> list[Change]:
    """Less memory for the same batches."""
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
    """The same tokens a step in other batches, the largest first."""
    training = recipe.training
    in_all = training.batch_tokens * training.gradient_accumulation
    changes = []
    for parts in (1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 128):
        settings = {"batch_tokens": in_all // parts, "gradient_accumulation": parts}
        if parts != training.gradient_accumulation and in_all % parts == 0 and in_all // parts % unit(recipe) == 0:
            changes.append(Change(settings, " ".join(f"--set training.{key}={n}" for key, n in settings.items())))
    return changes


def unit(recipe: Recipe) -> int:
    """What training.batch_tokens is counted in here: tokens of the longest sentence, or training.bptt_steps."""
    return recipe.training.bptt_steps or recipe.training.max_tokens_per_sentence


def changed(recipe: Recipe, group: list[Change]) -> Recipe:
    for change in group:
        recipe = trained_with(recipe, **change.settings)
    return recipe


def trained_with(recipe: Recipe, **settings: Any) -> Recipe:
    """The recipe with other settings of training (or recompute_experts)."""
    model = recipe.model
    if "recompute_experts" in settings:
        settings = dict(settings)
        moe = model.moe.model_copy(update={"recompute_experts": settings.pop("recompute_experts")})
        model = model.model_copy(update={"moe": moe})
    return recipe.model_copy(update={"model": model, "training": recipe.training.model_copy(update=settings)})
