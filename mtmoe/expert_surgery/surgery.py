"""Surgery: a run is read, operated on, measured before and after, and written as a new run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from mtmoe.checkpoint import (
    Checkpoint,
    CheckpointState,
    RunFiles,
    SurgeryRecord,
    check_file,
    create_run,
    find_checkpoints,
    load_run_recipe,
    load_weights,
    mean_weights,
    open_run,
    save_weights_alone,
    weights_digest,
)
from mtmoe.checkpoint.run_data import link_data, run_data
from mtmoe.config import Recipe, recipe_from_dict
from mtmoe.config.settings import MixtureOfExpertsSettings
from mtmoe.data.prepared.data_directory import Prepared, open_prepared
from mtmoe.data.subwords.vocabularies import Vocabulary, load_vocabulary
from mtmoe.device import choose_device
from mtmoe.errors import UserError
from mtmoe.expert_surgery.dev_use import LayerUse, measure_use
from mtmoe.expert_surgery.operation import Operation, Weights
from mtmoe.model.building import Network, build_model
from mtmoe.model.expert_layers import expert_layers
from mtmoe.progress import Progress, silent
from mtmoe.training.metrics.metrics_window import perplexity_of
from mtmoe.training.validation import validator_of

Operate = Callable[[Weights, MixtureOfExpertsSettings, Mapping[str, LayerUse]], Operation]
"""From the weights of a run, the settings of its layers and their use on dev text."""


ALL_DEV_SETS = "all dev sets"


class Measured(NamedTuple):
    """A model on a dev set. perplexity: of its target tokens. bleu: of translations of its first sentences; None of a
    language model, and where none was translated."""

    perplexity: float
    bleu: float | None


class Outcome(NamedTuple):
    """A surgery that is done. before, after: by dev set. num_parameters: before and after."""

    run: RunFiles
    operation: Operation
    before: Mapping[str, Measured]
    after: Mapping[str, Measured]
    num_parameters: tuple[int, int]
    num_experts: tuple[int, int]


class Patient(NamedTuple):
    """A run that is to be operated on: what was read of it."""

    files: RunFiles
    recipe: Recipe
    vocabulary: Vocabulary
    checkpoints: list[Checkpoint]
    weights: Weights
    prepared: Prepared
    device: torch.device


def operate(
    directory: Path,
    new_directory: Path,
    operation: Operate,
    *,
    checkpoint: str = "best",
    data_dir: Path | None = None,
    language: str | None = None,
    num_sentences: int | None = None,
    device: str | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Make a new run of a run, by an operation on its experts.

    The new run has the recipe with the new numbers of experts, the vocabulary, one checkpoint with weights alone, and
    in its manifest what was done. The calibration of the confidence is left behind: it is of other weights.

    Args:
        data_dir: prepared text with the dev set, in place of the run's.
        language: that dev sets translate into, or their direction (en-de), by which the use of the experts is
            measured; None for all.
        num_sentences: of the dev set that are translated for BLEU; None for as many as the recipe says.
        progress: told of the stage "measure", in models.

    Raises:
        UserError: no such run or checkpoint, a run without experts, text that is gone; the operation does not suit the
            layers; the new directory holds something.
    """
    if new_directory.exists() and any(new_directory.iterdir()):
        raise UserError(f"{new_directory}: is there already", fix="give a new directory")
    patient = _read(directory, checkpoint, data_dir, device)
    model = _model(patient.recipe, patient.vocabulary, patient.weights, patient)
    if not expert_layers(model):
        raise UserError(f"{directory}: has no expert layers", fix="give a run with model.moe.kind = mixture")
    use = measure_use(model, patient.recipe, patient.prepared, language)
    done = operation(patient.weights, patient.recipe.model.moe, use)
    new_recipe = _with_experts(patient.recipe, done.moe, patient.files.recipe)
    new_model = _model(new_recipe, patient.vocabulary, done.weights, patient)
    before = _measure(patient.recipe, model, patient, num_sentences)
    progress("measure", 1, 2, "models")
    after = _measure(new_recipe, new_model, patient, num_sentences)
    progress("measure", 2, 2, "models")
    run = _write(new_directory, patient, done, new_recipe)
    return Outcome(
        run,
        done,
        before,
        after,
        (_num_parameters(model), _num_parameters(new_model)),
        (patient.recipe.model.moe.num_experts, done.moe.num_experts),
    )


def _read(directory: Path, checkpoint: str, data_dir: Path | None, device: str | None) -> Patient:
    files = open_run(directory)
    recipe = load_run_recipe(files)
    chosen = find_checkpoints(files, checkpoint)
    vocabulary = load_vocabulary(check_file(files, files.subwords))
    prepared = open_prepared(data_dir or run_data(directory))
    prepared.check_suits(recipe)
    return Patient(files, recipe, vocabulary, chosen, mean_weights(chosen), prepared, choose_device(device))


def _model(recipe: Recipe, vocabulary: Vocabulary, weights: Weights, patient: Patient) -> Network:
    model = build_model(recipe, vocabulary.size)
    load_weights(model, weights, patient.checkpoints[-1].path)
    return model.to(patient.device).eval()


def _with_experts(recipe: Recipe, moe: MixtureOfExpertsSettings, path: Path) -> Recipe:
    """Return the recipe with other numbers of experts.

    Raises:
        UserError: they contradict another setting.
    """
    settings = recipe.model_dump(mode="json", exclude_none=True)
    changed = {"num_experts": moe.num_experts, "experts_per_token": moe.experts_per_token}
    settings["model"]["moe"] |= changed
    return recipe_from_dict(settings, path)


def _measure(recipe: Recipe, model: Network, patient: Patient, num_sentences: int | None) -> dict[str, Measured]:
    if num_sentences is not None:
        validation = recipe.training.validation.model_copy(update={"translate_sentences": num_sentences})
        recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"validation": validation})})
    quality = validator_of(recipe, patient.prepared, patient.vocabulary, patient.device)(model)
    found = {
        name: Measured(perplexity_of(of_set.loss), of_set.bleu)
        for name, of_set in quality.dev_sets.items()
        if of_set.loss is not None
    }
    if len(found) == 1:
        return found
    return found | {ALL_DEV_SETS: Measured(quality.perplexity, quality.bleu)}


def _num_parameters(model: Network) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _write(directory: Path, patient: Patient, done: Operation, recipe: Recipe) -> RunFiles:
    record = SurgeryRecord(
        operation=done.name,
        run=str(patient.files.directory.absolute()),
        checkpoints=tuple(checkpoint.name for checkpoint in patient.checkpoints),
        weights_digest=weights_digest(patient.weights),
        why=done.why,
        layers={layer: tuple(map(tuple, origins)) for layer, origins in done.origins.items()},
    )
    files, run = patient.files, RunFiles(directory)
    # Weights first: the recipe, which is written last, makes the directory a run.
    save_weights_alone(run, done.weights, CheckpointState(step=patient.checkpoints[-1].step, has_weights_alone=True))
    link_data(directory, patient.prepared.directory)
    return create_run(directory, recipe, files.subwords, files.lexicon, source_words=files.source_words, surgery=record)
