"""Networks of another shape that begin with the weights of a start run: what they compute at first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mtmoe.checkpoint import RunFiles, find_checkpoint, read_weights
from mtmoe.config import Recipe
from mtmoe.data.batches.token_batches import sequential_batches
from mtmoe.data.prepared.data_directory import open_prepared
from mtmoe.data.subwords.vocabularies import load_vocabulary
from mtmoe.training.metrics.expert_usage import ExpertUsage
from mtmoe.training.start.start_run import open_start
from mtmoe.training.start.starting_weights import begin_from
from mtmoe.training.start.taking_over import plan_taking_over
from mtmoe.training.step import Stepper

SETTINGS: dict[str, Any] = {
    "precision": "fp32",
    "max_steps": 6,
    "learning_rate": 0.02,
    "save_every_steps": 6,
    "validation": {"every_steps": 6, "metric": "loss", "translate_sentences": 0},
}
PLACES = {"width": 32, "dropout": 0.0, "encoder_moe_after": [1], "decoder_moe_after": [1]}
DENSE = {"kind": "dense", "experts_per_token": 2, "expert_hidden": 16}
MIXTURE = {"num_experts": 4, "experts_per_token": 2, "expert_hidden": 32}


def network(moe: dict[str, Any], **model: Any) -> dict[str, Any]:
    return {"model": PLACES | {"moe": moe} | model}


@pytest.fixture
def begun(toy, train, toy_data, tmp_path):
    """Train a run of one network, and return steppers of it and of another network that begins with its weights."""

    def make(old: dict[str, Any], new: dict[str, Any], **start: Any) -> tuple[Stepper, Stepper]:
        train(toy(old, **SETTINGS), tmp_path / "base")
        vocabulary = load_vocabulary(open_prepared(toy_data).subwords_path)
        steppers = []
        for tables in (old, new):
            recipe: Recipe = toy(tables, **SETTINGS, start={"run": str(tmp_path / "base"), **start})
            opened = open_start(recipe, recipe.training.start, tmp_path / "run")
            (checkpoint,) = opened.checkpoints
            weights, rules = read_weights(checkpoint.path), plan_taking_over(opened, recipe, vocabulary).rules
            stepper = Stepper(recipe, vocabulary.size, torch.device("cpu"))
            stepper.begin_with(
                lambda fresh, w=weights, r=rules: {name: rule(w, fresh[name]) for name, rule in r.items()}
            )
            steppers.append(stepper)
        return steppers[0], steppers[1]

    return make


def first_loss(stepper: Stepper, data: Path) -> float:
    """Nats per target token of the first step, in training, dropout being off."""
    corpus = open_prepared(data).train
    batch = next(iter(sequential_batches(corpus, 400)))
    result = stepper([batch], ExpertUsage())
    return result.loss_sum / result.num_target_tokens


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"gate": "softmax"},
        {"sigmoid_output": False},
        {"experts_per_token": 1},
        {"num_experts": 6, "experts_per_token": 4, "hierarchy": {"groups": 3}},
        {"gate": "sigmoid", "choice_bias_rate": 0.01, "shared_experts": 2},
    ],
    ids=["noisy-top-k", "softmax", "no-sigmoid", "one-of-four", "hierarchy", "sigmoid-biased-shared"],
)
def test_a_dense_network_goes_on_as_a_mixture_with_the_same_loss(begun, toy_data, more):
    """Whatever its gates choose, noise and all: they sum to 1, and all experts are the same."""
    sigmoid = {key: value for key, value in more.items() if key == "sigmoid_output"}
    dense, mixture = begun(network(DENSE | sigmoid), network(MIXTURE | more))
    assert first_loss(mixture, toy_data) == pytest.approx(first_loss(dense, toy_data), abs=1e-5)
    weights = dict(mixture.model.named_parameters())
    stack_EDH = weights["encoder.moe_layers.1.experts.first_EDH"]
    assert stack_EDH.shape[0] == mixture.recipe.model.moe.num_experts
    assert not torch.equal(stack_EDH[0], stack_EDH[1]), "after one step the copies differ"


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ({}, {"num_experts": 8, "experts_per_token": 4}, True),
        ({}, {"num_experts": 8}, False),
        ({"experts_per_token": 1}, {"num_experts": 12, "experts_per_token": 1}, True),
        (
            {"num_experts": 4, "hierarchy": {"groups": 2, "groups_per_token": 1}},
            {"num_experts": 8, "experts_per_token": 4, "hierarchy": {"groups": 2, "groups_per_token": 1}},
            True,
        ),
        ({"gate": "softmax"}, {"num_experts": 8, "experts_per_token": 4}, True),
    ],
    ids=["all-copies-chosen", "some-copies-chosen", "one-expert", "in-groups", "a-gate-that-gets-noise"],
)
def test_more_experts_compute_without_noise_what_the_sentence_says(begun, toy, toy_data, tmp_path, old, new, same):
    few, many = begun(network(MIXTURE | old), network(MIXTURE | new))
    losses = []
    for stepper in (few, many):
        stepper.model.eval()
        losses.append(first_loss(stepper, toy_data))
    assert (abs(losses[1] - losses[0]) < 1e-5) == same
    recipe = toy(network(MIXTURE | new), **SETTINGS, start={"run": str(tmp_path / "base")})
    record = begin_from(recipe, tmp_path / "run", open_prepared(toy_data).subwords_path)
    assert record is not None
    told = "the layers compute what they did" if same else "so that the loss begins higher"
    assert told in record.taken_over[-1]


SHARED = {"gate": "sigmoid", "gate_scale": 2.0, "shared_experts": 2, "choice_bias_rate": 0.01}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {"shared_experts": 2}),
        ({"gate": "softmax"}, {"gate": "softmax", "shared_experts": 1, "choice_bias_rate": 0.1, "z_loss_weight": 0.1}),
        ({}, {"gate": "softmax", "choice_bias_rate": 0.1}),
        (SHARED, SHARED | {"choice_bias_rate": 0.5}),
        (DENSE | {"shared_experts": 1}, DENSE | {"experts_per_token": 3}),
        (DENSE | {"shared_experts": 1}, MIXTURE | {"expert_hidden": 48, "shared_experts": 1}),
    ],
    ids=["shared", "shared-and-biased", "biased", "kept", "dense", "upcycled"],
)
def test_new_shared_experts_and_biases_begin_with_what_the_network_computed(begun, toy_data, old, new):
    one, other = begun(network(MIXTURE | old), network(MIXTURE | new))
    for stepper in (one, other):
        stepper.model.eval()
    assert first_loss(other, toy_data) == pytest.approx(first_loss(one, toy_data), abs=1e-5)


def test_a_layer_that_the_start_lacks_begins_with_the_output_0(begun, toy_data):
    plain = network({"sigmoid_output": False} | MIXTURE, encoder_moe_after=[1], decoder_moe_after=[])
    more = network({"sigmoid_output": False} | MIXTURE, encoder_moe_after=[1, 2], decoder_moe_after=[1])
    old, new = begun(plain, more)
    for stepper in (old, new):
        stepper.model.eval()
    assert first_loss(new, toy_data) == pytest.approx(first_loss(old, toy_data), abs=1e-6)


def test_a_matrix_that_was_shared_goes_on_as_several(begun, toy_data):
    one, three = begun(network(DENSE), network(DENSE, tied_embeddings="none"))
    assert first_loss(three, toy_data) == pytest.approx(first_loss(one, toy_data), abs=1e-6)
    assert {"source_embedding_VD", "output_VD"} <= dict(three.model.named_parameters()).keys()


def test_a_whole_training_begins_with_the_quality_of_the_dense_run(toy, train, tmp_path):
    dense = train(toy(network(DENSE), **SETTINGS), tmp_path / "base")
    recipe = toy(network(MIXTURE), **SETTINGS, start={"run": str(tmp_path / "base")})
    told = train(recipe, tmp_path / "run")
    assert told.losses[0] == pytest.approx(dense.losses[6], abs=1e-5)
    (record,) = told.starts
    assert "the dense network of 32 hidden units as each of 4 experts of a layer" in record.taken_over
    assert record.new[-1] == "as in any new network: encoder.moe1.gate, decoder.moe1.gate"
    copies_EDH = read_weights(find_checkpoint(RunFiles(tmp_path / "run"), "0").path)[
        "decoder.moe_layers.1.experts.first_EDH"
    ]
    assert torch.equal(copies_EDH[0], copies_EDH[3])
