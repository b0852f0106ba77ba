"""Packaging: a run becomes a package, with the smallest weights that translate as well."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from mtmoe.checkpoint import ModelSource, open_model, weights_digest
from mtmoe.checkpoint.packages.package import CARD, RECIPE, Package, is_package
from mtmoe.checkpoint.packages.package_manifest import PRECISIONS, Precision
from mtmoe.checkpoint.packages.package_writing import (
    PackedModel,
    described_members,
    save_package,
    tensors_as_bytes,
    write_package,
)
from mtmoe.checkpoint.packages.stored_weights import gate_names, stored_weights
from mtmoe.checkpoint.run_data import run_data
from mtmoe.checkpoint.run_files import WEIGHTS
from mtmoe.config import Recipe, recipe_to_toml
from mtmoe.data.prepared.data_directory import Prepared, open_prepared
from mtmoe.data.prepared.lexicon import LEXICON_NAME
from mtmoe.data.prepared.source_words import SOURCE_WORDS_NAME
from mtmoe.errors import UserError
from mtmoe.inference.fast_decoding import FAST_DECODING_NAME
from mtmoe.inference.scoring.confidence import CONFIDENCE_NAME, Confidence
from mtmoe.inference.translator import Translator
from mtmoe.model.building import meta_model
from mtmoe.progress import Progress, silent
from mtmoe.sharing.dev_quality import DevQuality, DevSets
from mtmoe.sharing.model_card import CardFacts, model_card
from mtmoe.sharing.portable_recipe import portable_recipe
from mtmoe.system.json_files import parse_json

MOST_BLEU_LOST = 0.1
"""What fewer bits may cost on the dev set when nobody has said which."""
_UNMEASURED: Precision = "bf16"  # measured nowhere to lose anything, in half of the size


class PackageOptions(NamedTuple):
    """What to make of a run.

    precision: of the weights; None for the smallest that loses at most :data:`MOST_BLEU_LOST` on the dev set.
    data_dir: with the dev set; by default the run's. license: an identifier of SPDX, or empty.
    """

    run: Path
    mtmoe_version: str
    checkpoint: str = "best"
    precision: Precision | None = None
    measures: bool = True
    data_dir: Path | None = None
    license: str = ""
    device: str | None = None


class Choice(NamedTuple):
    """A package that could be written. quality: None where it was not measured."""

    precision: Precision
    num_bytes: int
    quality: DevQuality | None


class Packaging(NamedTuple):
    """What was written. before: the quality of the run itself. choices: what was looked at, the smallest first."""

    chosen: Choice
    before: DevQuality | None
    choices: tuple[Choice, ...]


class _Contents(NamedTuple):
    """What a package is made of, whatever its weights are stored in. members: all but weights and card."""

    recipe: Recipe
    members: Mapping[str, bytes]
    weights: Mapping[str, torch.Tensor]
    gates: frozenset[str]
    model: PackedModel

    def with_weights(self, precision: Precision) -> dict[str, bytes]:
        stored = stored_weights(self.weights, precision, self.gates)
        return {**self.members, WEIGHTS: tensors_as_bytes(stored)}


def package_run(options: PackageOptions, file: Path, progress: Progress = silent) -> Packaging:
    """Write the package of a run.

    Args:
        file: where to; what is there is replaced.
        progress: told of the translation of the dev set.

    Raises:
        UserError: no run, no such checkpoint, or damaged; ``options.data_dir`` has no dev set.
        OSError: the file cannot be written.
    """
    if is_package(options.run):
        raise UserError(f"{options.run}: is a package already", fix="give the run that it was made of")
    source = open_model(options.run)
    contents = _contents(source, options)
    prepared = _prepared(options, contents.recipe)
    measures = options.measures and contents.recipe.task == "translation"
    dev_sets = DevSets(prepared, contents.recipe) if prepared is not None and measures else None
    before = None
    if dev_sets is not None:
        translator = Translator(source, device=options.device, checkpoint=options.checkpoint)
        before = dev_sets.quality(translator, progress)
    wanted = (options.precision,) if options.precision else PRECISIONS
    choices = tuple(_measured(contents, precision, options, dev_sets, before, progress) for precision in wanted)
    chosen = choices[0] if options.precision else _chosen(choices, before)
    members = contents.with_weights(chosen.precision)
    facts = CardFacts(
        contents.recipe,
        contents.model._replace(precision=chosen.precision),
        sum(weight.numel() for weight in contents.weights.values()),
        described_members(members),
        before,
        chosen.quality,
        num_pairs=None if prepared is None else len(prepared.train),
        license=options.license,
    )
    members[CARD] = model_card(facts).encode()
    save_package(file, facts.model, members)
    return Packaging(chosen._replace(num_bytes=file.stat().st_size), before, choices)


def _contents(source: ModelSource, options: PackageOptions) -> _Contents:
    recipe = portable_recipe(source.recipe())
    checkpoints = source.checkpoints(options.checkpoint)
    names = [source.vocabulary_name, LEXICON_NAME, SOURCE_WORDS_NAME]
    found = {name: source.read(name) for name in names}
    if len(checkpoints) == 1 and (confidence := source.read(CONFIDENCE_NAME)) is not None:
        read = parse_json(confidence, source.shown(CONFIDENCE_NAME), Confidence, fix="make it anew: mtmoe calibrate")
        found[CONFIDENCE_NAME] = confidence if read.checkpoint == checkpoints[0].name else None
    found[FAST_DECODING_NAME] = source.read(FAST_DECODING_NAME)
    members = {name: content for name, content in found.items() if content is not None}
    members[RECIPE] = recipe_to_toml(recipe).encode()
    weights = {name: weight.float() for name, weight in source.weights(checkpoints).items()}
    gates = gate_names(meta_model(recipe, source.vocabulary().size))
    model = PackedModel(options.mtmoe_version, checkpoints, weights_digest(weights), "fp32")
    return _Contents(recipe, members, weights, gates, model)


def _prepared(options: PackageOptions, recipe: Recipe) -> Prepared | None:
    """Return the run's data directory; None where it is gone, or nothing is to be known of it."""
    if options.data_dir is not None:
        return open_prepared(options.data_dir)
    try:
        return open_prepared(run_data(options.run))
    except UserError:
        return None


def _measured(
    contents: _Contents,
    precision: Precision,
    options: PackageOptions,
    dev_sets: DevSets | None,
    before: DevQuality | None,
    progress: Progress,
) -> Choice:
    """Write a package to a file without a name, and translate with it."""
    with tempfile.TemporaryFile() as file:
        members = {**contents.with_weights(precision), CARD: b""}
        write_package(file, contents.model._replace(precision=precision), members)
        num_bytes = file.tell()
        if dev_sets is None or precision == "fp32":  # the very weights of the run
            return Choice(precision, num_bytes, before)
        package = Package(options.run.with_name(f"{options.run.name} in {precision}"), file)
        return Choice(precision, num_bytes, dev_sets.quality(Translator(package, device=options.device), progress))


def _chosen(choices: tuple[Choice, ...], before: DevQuality | None) -> Choice:
    if before is None:
        return next(choice for choice in choices if choice.precision == _UNMEASURED)
    least = before.bleu - MOST_BLEU_LOST
    return next(choice for choice in choices if choice.quality is None or choice.quality.bleu >= least)
