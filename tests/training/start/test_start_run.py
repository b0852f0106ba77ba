"""Start runs that do not suit: each is told by what does not fit, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtmoe.checkpoint import create_run
from mtmoe.config import recipe_from_dict
from mtmoe.data.prepared.data_directory import open_prepared
from mtmoe.errors import UserError
from mtmoe.training.start.start_run import open_start
from tests.toy import counting_recipe

MIXTURE = {"num_experts": 4, "experts_per_token": 2, "expert_hidden": 32}
PLACES = {"width": 32, "encoder_moe_after": [1], "decoder_moe_after": [1], "moe": MIXTURE}


def with_moe(**moe: Any) -> dict[str, Any]:
    return PLACES | {"moe": MIXTURE | moe}


@pytest.fixture
def opened(toy, toy_data, tmp_path):
    """Hold a recipe against a run of another; neither is trained."""

    def make(new: dict[str, Any], old: dict[str, Any] | None = None, languages: str = "en-fr", **start: Any) -> None:
        prepared = open_prepared(toy_data)
        if not (tmp_path / "base").exists():
            create_run(tmp_path / "base", toy({"model": old or PLACES}), prepared.subwords_path)
        recipe = toy({"model": new}, start={"run": str(tmp_path / "base"), **start})
        source, target = languages.split("-")
        settings = recipe.model_dump(mode="json", exclude_none=True)
        settings["data"] |= {"source_language": source, "target_language": target}
        recipe = recipe_from_dict(settings, Path("toy.toml"))
        open_start(recipe, recipe.training.start, tmp_path / "run")

    return make


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({}, {"width": 64}, r"model.width = 32, but the recipe has 64"),
        ({"encoder_layers": 3}, {}, r"encoder_layers = 3, but the recipe has 2: what the layers above it have learned"),
        ({}, {"attention": "additive"}, "model.attention = product, but the recipe has additive"),
        ({"tied_embeddings": "none"}, {}, "model.tied_embeddings = none, but the recipe has all"),
        ({}, {"encoder_moe_after": []}, r"model.encoder_moe_after = \[1\], but the recipe has \[\]"),
        ({"encoder_moe_after": []}, {}, r"encoder_moe_after = \[\], but .* \[1\]: a new layer has to begin with .* 0"),
        (with_moe(kind="dense"), {}, r"expert_hidden = 32, but .* 32: each expert .* = 2 x 32 = 64 hidden units"),
        (with_moe(kind="dense", dense_layers=2), with_moe(expert_hidden=64), "dense_layers = 2, but the recipe has 1"),
        (
            with_moe(kind="dense"),
            with_moe(expert_hidden=64, gate="strictly-balanced"),
            "gate = dense, but the recipe has strictly-balanced: with this gate a token may have no expert",
        ),
        (with_moe(), with_moe(kind="dense"), "model.moe.kind = mixture, but the recipe has dense"),
        (with_moe(), with_moe(sigmoid_output=False), "sigmoid_output = true, but the recipe has false"),
        (with_moe(), with_moe(num_experts=2), "num_experts = 4, but the recipe has 2: what the experts that go"),
        (with_moe(), with_moe(num_experts=6), "num_experts = 4, but the recipe has 6: each expert is copied equally"),
        (with_moe(), with_moe(num_experts=8, gate="softmax"), 'gate = "softmax", without noise, copies'),
        (with_moe(), with_moe(gate="strictly-balanced"), "gate = noisy-top-k, but the recipe has strictly-balanced"),
        (with_moe(), with_moe(gate="sigmoid"), "gate = noisy-top-k, but the recipe has sigmoid: their gates"),
        (
            with_moe(gate="strictly-balanced") | {"decoder_moe_after": []},
            with_moe(gate="expert-choice") | {"decoder_moe_after": []},
            "gate = strictly-balanced, but the recipe has expert-choice",
        ),
        (with_moe(gate="sigmoid"), with_moe(gate="sigmoid", gate_scale=2.0), "gate_scale = 1.0, but the recipe has 2"),
        (
            with_moe(gate="softmax", choice_bias_rate=0.1),
            with_moe(gate="softmax"),
            "choice_bias_rate = 0.1, but the recipe has 0.0: without their biases the gates would choose other experts",
        ),
        (with_moe(shared_experts=1), with_moe(), "shared_experts = 1, but the recipe has 0: shared experts can"),
        (with_moe(shared_experts=1), with_moe(shared_experts=2), "shared_experts = 1, but the recipe has 2"),
        (
            with_moe(kind="dense", shared_experts=1),
            with_moe(shared_experts=1),
            r"which has \(experts_per_token \+ shared_experts\) x expert_hidden = 3 x 32 = 96 hidden units",
        ),
        (
            with_moe(kind="dense"),
            with_moe(expert_hidden=64, gate="sigmoid", gate_scale=2.0),
            "gate_scale = 1.0, but the recipe has 2.0: the gates of a token have to sum to 1",
        ),
        (with_moe(), with_moe(hierarchy={"groups": 2}), "hierarchy.groups = absent, but the recipe has 2"),
        (with_moe(), with_moe(expert_hidden=64), "expert_hidden = 32, but the recipe has 64"),
    ],
)  # fmt: skip
def test_a_network_of_another_shape_is_told_with_key_and_both_values(opened, old, new, told):
    with pytest.raises(UserError, match=told) as error:
        opened(PLACES | new, PLACES | old)
    assert "give the network the shape of the start run (--set model." in error.value.fix


def test_what_is_dropped_in_training_may_differ(opened):
    dropped = {"dropout": 0.5, "locked_dropout": True, "embedding_dropout": 0.1, "weight_dropout": 0.2}
    with pytest.raises(UserError, match="has no checkpoint yet"):  # the network suits
        opened(PLACES | dropped, PLACES)


@pytest.mark.parametrize(
    ("languages", "start", "told"),
    [
        ("en-de", {}, "translates en-fr, but the recipe is of en-de"),
        ("fr-en", {}, "translates en-fr, but the recipe is of fr-en"),
        ("de-nl", {"vocabulary": "own"}, "neither side is the same"),
        ("en-fr", {"checkpoint": "step-00000099"}, "has no checkpoint yet"),
    ],
)
def test_other_languages_and_checkpoints_that_are_not_there(opened, languages, start, told):
    with pytest.raises(UserError, match=told):
        opened(PLACES, languages=languages, **start)


def test_no_run_the_run_itself_and_a_run_of_another_task(toy, toy_data, tmp_path):
    subwords = open_prepared(toy_data).subwords_path
    create_run(tmp_path / "base", toy(), subwords)
    create_run(tmp_path / "lm", counting_recipe(tmp_path), subwords)
    for run, told in (
        ("base", "is the run itself"),
        ("nothing", "no run .*nothing: it does not exist"),
        ("lm", 'is a run of task = "language-model", but the recipe has task = "translation"'),
    ):
        recipe = toy(start={"run": str(tmp_path / run)})
        with pytest.raises(UserError, match=told):
            open_start(recipe, recipe.training.start, tmp_path / "base")
    (tmp_path / "base" / "recipe.toml").write_text("name = ", encoding="utf-8")
    recipe = toy(start={"run": str(tmp_path / "base")})
    with pytest.raises(UserError, match=r"base/recipe.toml: damaged"):
        open_start(recipe, recipe.training.start, tmp_path / "run")


def test_a_multilingual_start_wants_a_multilingual_recipe(toy, toy_data, tmp_path):
    settings = toy().model_dump(mode="json", exclude_none=True)
    settings["data"] |= {"source_language": "mul", "target_language": "mul", "multilingual": {}}
    for part in ("train", "valid", "test"):
        settings["data"][part][0]["direction"] = "en-fr"
    create_run(tmp_path / "base", recipe_from_dict(settings, Path("mul")), open_prepared(toy_data).subwords_path)
    recipe = toy(start={"run": str(tmp_path / "base"), "vocabulary": "own"})
    with pytest.raises(UserError, match="told by a token in front of each sentence, but the recipe is of en-fr alone"):
        open_start(recipe, recipe.training.start, tmp_path / "run")
