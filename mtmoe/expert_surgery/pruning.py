"""Pruning: the experts that matter least on dev text are left out, and their columns of the gate with them.

A token whose experts are all kept is computed as before: the k largest logits and their softmax (eqs. 3 and 5) are the
same, and so are the k largest sigmoids, with a bias on the choice or without. Any other has its next best experts in
place of those that are gone. Shared experts stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from mtmoe.config.settings import MixtureOfExpertsSettings
from mtmoe.errors import UserError
from mtmoe.expert_surgery.dev_use import LayerUse
from mtmoe.expert_surgery.operation import Operation, Weights, best_of_groups, number_of_groups, with_selected

Measure = Literal["importance", "share"]


def check_fewer(moe: MixtureOfExpertsSettings, num_kept: int, experts_per_token: int, what: str) -> None:
    """Check that layers can go on with fewer experts.

    Args:
        what: is done, in one word, for errors.

    Raises:
        UserError: the gate cannot be without some of its experts, or the number does not suit it.
    """
    if moe.has_thresholds:
        raise UserError(
            f'--{what} and gate = "{moe.gate}" do not go together: the gate holds a softmax over all experts '
            "against thresholds, and without some of them all values grow, so that other experts would be chosen",
            fix="train with fewer experts (model.moe.num_experts) from the beginning",
        )
    if moe.gate == "softmax" and moe.choice_bias_rate:
        raise UserError(
            f'--{what} and gate = "softmax" with choice_bias_rate = {moe.choice_bias_rate:g} do not go together: a '
            "bias is added to a softmax over all experts, and without some of them all values grow, so that other "
            "experts would be chosen",
            fix='train with fewer experts (model.moe.num_experts) from the beginning, or with gate = "sigmoid"',
        )
    groups = number_of_groups(moe)
    if num_kept % groups:
        near = max(1, num_kept // groups) * groups
        raise UserError(
            f"{num_kept} experts are not a multiple of model.moe.hierarchy.groups = {groups}",
            fix=f"keep as many of each group: for example --keep {near}",
        )
    if num_kept >= moe.num_experts:
        raise UserError(
            f"--keep {num_kept}: the layers have {moe.num_experts} experts, so nothing would change",
            fix="keep fewer",
        )
    least = experts_per_token // (moe.hierarchy.groups_per_token if moe.hierarchy is not None else 1) * groups
    if num_kept < least:
        of_group = f" ({least // groups} in each of {groups} groups)" if groups > 1 else ""
        raise UserError(
            f"--keep {num_kept}: a token is sent to model.moe.experts_per_token = {experts_per_token} experts, so at "
            f"least {least} are needed{of_group}",
            fix=f"--keep {least}",
        )


def prune(
    weights: Weights, moe: MixtureOfExpertsSettings, use: Mapping[str, LayerUse], num_kept: int, by: Measure
) -> Operation:
    """Keep the experts of each layer that were used most.

    Args:
        num_kept: of each layer; of two levels, equally many of each group.
        by: importance: the sum of an expert's gates (eq. 6). share: the number of its tokens.

    Raises:
        UserError: as :func:`check_fewer`.
    """
    check_fewer(moe, num_kept, moe.experts_per_token, "prune")
    groups = number_of_groups(moe)
    kept, shares = {}, []
    for layer, of_layer in use.items():
        values = (of_layer.importance_E if by == "importance" else of_layer.tokens_E).tolist()
        kept[layer] = best_of_groups(values, num_kept, groups)
        shares.append(sum(values[expert] for expert in kept[layer]) / max(sum(values), 1e-9))
    what = "importance (sum of gates)" if by == "importance" else "tokens"
    return Operation(
        "prune",
        moe.model_copy(update={"num_experts": num_kept}),
        {layer: [[expert] for expert in experts] for layer, experts in kept.items()},
        with_selected(weights, kept, moe),
        f"the {num_kept} of {moe.num_experts} experts of each layer with most {what} on the dev text; they had "
        f"{min(shares):.1%} of it in the layer where they had least",
    )
