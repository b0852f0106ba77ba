"""The settings of the mixture-of-experts layer: what contradicts what, and what does not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mtmoe.config import describe_settings, load_recipe, recipe_to_toml
from mtmoe.config.settings import MixtureOfExpertsSettings
from tests.toy import toy_recipe

GROUPS = {"groups": 4, "groups_per_token": 2}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"experts_per_token": 17}, "experts_per_token = 17 is more than num_experts = 16"),
        (
            {"experts_per_token": 10, "hierarchy": GROUPS},
            "experts_per_token = 10 is 5 in each of hierarchy.groups_per_token = 2 groups, more than the 4 experts of "
            "a group: num_experts = 16, hierarchy.groups = 4",
        ),
        (
            {"experts_per_token": 3, "hierarchy": GROUPS},
            "experts_per_token = 3 is not a multiple of hierarchy.groups_per_token = 2",
        ),
        ({"hierarchy": {"groups": 5}}, "num_experts = 16 is not a multiple of hierarchy.groups = 5"),
        (
            {"hierarchy": {"groups": 4, "groups_per_token": 5}},
            "hierarchy.groups_per_token = 5 is more than hierarchy.groups = 4",
        ),
        ({"hierarchy": {"groups": 1}}, "hierarchy.groups_per_token = 2 is more than hierarchy.groups = 1"),
        (
            {"gate": "softmax", "load_loss_weight": 0.1},
            'load_loss_weight = 0.1 belongs to gate = "noisy-top-k", but gate = "softmax"',
        ),
        (
            {"gate": "strictly-balanced", "load_loss_weight": 0.1},
            'load_loss_weight = 0.1 belongs to gate = "noisy-top-k", but gate = "strictly-balanced"',
        ),
        (
            {"gate": "softmax", "noise_floor": 0.1},
            'noise_floor = 0.1 belongs to gate = "noisy-top-k", but gate = "softmax"',
        ),
        (
            {"threshold_loss_weight": 0.5},
            'threshold_loss_weight = 0.5 belongs to gate = "strictly-balanced" or "expert-choice", but gate = '
            '"noisy-top-k"',
        ),
        (
            {"gate_scale": 2.0},
            'gate_scale = 2.0 belongs to gate = "sigmoid", but gate = "noisy-top-k"',
        ),
        (
            {"gate": "strictly-balanced", "choice_bias_rate": 0.1},
            'choice_bias_rate = 0.1 belongs to gate = "softmax" or "sigmoid", but gate = "strictly-balanced"',
        ),
        (
            {"gate": "sigmoid", "choice_bias_rate": 0.1, "hierarchy": GROUPS},
            "choice_bias_rate = 0.1 is for gates of one level, but hierarchy.groups = 4; importance_loss_weight "
            "balances both levels",
        ),
        (
            {"gate": "sigmoid", "choice_bias_rate": 0.1, "experts_per_token": 16},
            "choice_bias_rate = 0.1 does nothing: experts_per_token = 16 are all of num_experts = 16",
        ),
        (
            {"gate": "expert-choice", "hierarchy": GROUPS},
            'gate = "expert-choice" has one level, but hierarchy.groups = 4; "strictly-balanced" has two',
        ),
        (
            {"kind": "dense", "expert_hidden": 65536, "shared_experts": 1000},
            "experts_per_token = 2 and expert_hidden = 65536 and shared_experts = 1000 make a dense network of "
            "65667072 hidden units; at most 16777216",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_both_named_with_their_values(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as error:
        MixtureOfExpertsSettings.model_validate(settings)
    assert message in str(error.value)


@pytest.mark.parametrize("gate", ["softmax", "strictly-balanced", "sigmoid", "expert-choice"])
def test_a_gate_without_noise_takes_the_defaults_and_zeros_of_the_noisy_one(gate: str) -> None:
    MixtureOfExpertsSettings.model_validate({"gate": gate})
    MixtureOfExpertsSettings.model_validate({"gate": gate, "load_loss_weight": 0.0, "noise_floor": 0.0})


def test_the_experts_of_a_token_are_those_of_all_its_groups() -> None:
    flat = MixtureOfExpertsSettings(experts_per_token=3)
    assert (flat.top_k_in_group, flat.experts_per_group) == (3, 16)
    levels = MixtureOfExpertsSettings.model_validate({"experts_per_token": 6, "hierarchy": GROUPS})
    assert (levels.top_k_in_group, levels.experts_per_group) == (3, 4)


def test_a_recipe_with_two_levels_is_the_same_after_writing_and_reading(tmp_path) -> None:
    toy = toy_recipe(tmp_path)
    moe = {"num_experts": 16, "gate": "strictly-balanced", "threshold_loss_weight": 0.5, "hierarchy": GROUPS}
    model = toy.model.model_copy(update={"moe": MixtureOfExpertsSettings.model_validate(moe)})
    recipe = toy.model_copy(update={"model": model})
    text = recipe_to_toml(recipe)
    assert "[model.moe.hierarchy]\ngroups = 4\ngroups_per_token = 2\n" in text
    path = tmp_path / "again.toml"
    path.write_text(text, encoding="utf-8")
    assert load_recipe(path) == recipe
    without = load_recipe(path, ["model.moe.hierarchy=false"])
    assert without.model.moe.hierarchy is None


def test_every_setting_of_the_layer_has_a_sentence() -> None:
    told = {s.key: s.meaning for s in describe_settings() if s.key.startswith("model.moe.")}
    assert {"model.moe.gate", "model.moe.hierarchy.groups", "model.moe.hierarchy.groups_per_token"} <= told.keys()
    assert all(sentence.endswith(".") for sentence in told.values())
