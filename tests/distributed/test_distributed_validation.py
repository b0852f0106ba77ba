"""Several processes measure the dev set together, each with its experts, and find what one process finds."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch

from mtmoe.config import Recipe, recipe_from_dict
from mtmoe.config.settings import Distributed
from mtmoe.data.prepared.data_directory import open_prepared
from mtmoe.data.prepared.preparation import prepare
from mtmoe.data.subwords.vocabularies import load_vocabulary
from mtmoe.distributed.mesh import joined_processes
from mtmoe.distributed.unsynchronised_calls import unsynchronised_calls
from mtmoe.training import validation as module
from mtmoe.training.step import Stepper
from tests.distributed.processes.group import run_group
from tests.distributed.processes.recipes import TWO_LEVELS, small_recipe
from tests.distributed.processes.workers import CPU, VOCABULARY, doubles
from tests.toy import counting_settings, toy_settings

MESHES = [(2, 1), (2, 2), (1, 3)]


class Measured(NamedTuple):
    """Of one process. translations: those that it was told of. number: of its collectives, in the end."""

    metrics: dict[str, Any]
    translations: list[str]
    number: int


def measure(recipe: Recipe, data: str, expert_processes: int) -> Measured:
    distributed = Distributed(expert_processes=expert_processes)
    training = recipe.training.model_copy(update={"distributed": distributed})
    recipe = recipe.model_copy(update={"training": training})
    with joined_processes(recipe, CPU) as mesh, doubles(True):
        prepared = open_prepared(data)
        vocabulary = load_vocabulary(prepared.subwords_path)
        stepper = Stepper(recipe, vocabulary.size, CPU, mesh)
        if recipe.task == "translation":
            with torch.no_grad():  # words that are far apart, so that sentences differ in length
                stepper.model.output_VD.mul_(20.0)
        validator = module.validator_of(recipe, prepared, vocabulary, CPU, mesh)
        told: list[str] = []
        if isinstance(validator, module.Validator):
            translate = validator.translate
            validator.translate = lambda model: told.extend(translate(model)) or told  # type: ignore[method-assign]
        metrics = validator(stepper.inference_model)
        assert stepper.model.training
        mesh.agree_on_number()
        return Measured(metrics.line(), told if mesh.is_main else [], mesh.collective_log.now.number)


@pytest.fixture(scope="module")
def translation(tmp_path_factory) -> tuple[Recipe, str]:
    place = tmp_path_factory.mktemp("translation")
    settings = toy_settings(place, precision="fp32")
    settings["model"]["moe"] |= {"num_experts": 6}
    settings["training"]["validation"] |= {"translate_sentences": 15, "beam_size": 2}
    recipe = recipe_from_dict(settings, place / "toy.toml")
    prepare(recipe, place / "data", place / "cache")
    return recipe, str(place / "data")


@pytest.mark.parametrize("mesh", MESHES, ids=str)
def test_loss_and_translations_are_those_of_one_process(translation, mesh):
    [one] = run_group(1, measure, *translation, 1)
    assert len(set(map(len, one.translations))) > 3  # so that processes are done at different times
    main, *others = run_group(mesh[0] * mesh[1], measure, *translation, mesh[1])
    assert main.translations == one.translations
    for name in ("bleu_signature", "examples"):
        assert main.metrics.pop(name) == one.metrics.pop(name)
    assert main.metrics == pytest.approx(one.metrics, rel=1e-6)  # the loss is added up in float32
    for other in others:
        assert "bleu" not in other.metrics
        assert other.metrics["loss"] == main.metrics["loss"]
        assert other.number == main.number


@pytest.mark.parametrize("runs_on", [True, False])
def test_of_language_models_too(tmp_path, runs_on):
    settings = counting_settings(tmp_path, precision="fp32")
    if not runs_on:
        del settings["training"]["bptt_steps"]
        settings["training"]["max_tokens_per_sentence"] = 60
    recipe = recipe_from_dict(settings, tmp_path / "counting.toml")
    prepare(recipe, tmp_path / "data", tmp_path / "cache")
    arguments = recipe, str(tmp_path / "data")
    [one] = run_group(1, measure, *arguments, 1)
    for process in run_group(2, measure, *arguments, 2):
        assert process.metrics == pytest.approx(one.metrics, rel=1e-6)  # the loss is added up in float32


def call_now_and_then(recipe: Recipe) -> list[torch.Tensor]:
    """Encoders and decoder steps in another order and number on each process."""
    with joined_processes(recipe, CPU) as mesh, doubles(True):
        model = Stepper(recipe, VOCABULARY, CPU, mesh).model.eval()
        results = []
        with torch.no_grad(), unsynchronised_calls(model, mesh):
            for _ in range(1 + 2 * mesh.rank):
                source_BS = torch.tensor([[5, 6, 7, 2]])
                state = model.initial_state(model.encode(source_BS, torch.tensor([4])))
                for _ in range(3 - mesh.rank):
                    hidden_XD, _, state = model.decode_step(torch.tensor([9]), state)
                results.append(hidden_XD.numpy())
        return results


BALANCED = TWO_LEVELS | {"gate": "strictly-balanced"}


@pytest.mark.parametrize("moe", [{}, TWO_LEVELS, BALANCED], ids=["one-level", "two-levels", "balanced"])
def test_processes_may_come_to_experts_in_any_order_and_number(moe):
    [expected] = run_group(1, call_now_and_then, small_recipe(1, moe))
    one, other = run_group(2, call_now_and_then, small_recipe(2, moe))
    assert (len(one), len(other)) == (1, 3)
    assert one[0] == pytest.approx(expected[0], abs=1e-12)
    assert all(result.shape == expected[0].shape for result in other)
