"""Starting weights: what a new run begins with, decided once and kept in its manifest.

The main process decides (:func:`begin_from`) when the run is created. Every process then computes the weights
(:func:`starting_weights`), of the very checkpoints that the manifest names, and training saves them as step 0: from
there on the start run is not needed any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from mtmoe.checkpoint import (
    RunFiles,
    StartRecord,
    load_manifest,
    mean_weights,
    weights_digest,
)
from mtmoe.config import Recipe
from mtmoe.data.subwords.vocabularies import Vocabulary, load_vocabulary
from mtmoe.errors import UserError
from mtmoe.training.start.start_run import open_start
from mtmoe.training.start.taking_over import plan_taking_over

Fresh = Mapping[str, Tensor]


def begin_from(recipe: Recipe, run_dir: Path, vocabulary_path: Path) -> StartRecord | None:
    """Return what the manifest of a new run says of its start, or None for one that begins at random.

    Raises:
        UserError: the start run does not suit the recipe or the vocabulary of the text, or its weights are damaged.
    """
    settings = recipe.training.start
    if settings is None:
        return None
    start = open_start(recipe, settings, run_dir)
    vocabulary = load_vocabulary(vocabulary_path)
    if settings.vocabulary == "same" and vocabulary.path.read_bytes() != start.vocabulary.path.read_bytes():
        raise UserError(
            f"{vocabulary_path}: is another vocabulary than {start.vocabulary.path}, but "
            "training.start.vocabulary = same",
            fix=f"prepare the text with `mtmoe preprocess --from {start.directory}`, or set "
            "training.start.vocabulary = own",
        )
    plan = plan_taking_over(start, recipe, vocabulary)
    return StartRecord(
        run=str(start.directory.absolute()),
        checkpoints=tuple(checkpoint.name for checkpoint in start.checkpoints),
        weights_digest=weights_digest(mean_weights(start.checkpoints)),
        taken_over=plan.taken,
        new=plan.new,
        frozen=plan.frozen,
    )


def starting_weights(recipe: Recipe, run: RunFiles, vocabulary: Vocabulary) -> Callable[[Fresh], dict[str, Tensor]]:
    """Return a function from the parameters as they were drawn to those that begin otherwise, whole, by name.

    Raises:
        UserError: the start run is gone, damaged, or has changed since the run was created.
    """
    assert recipe.training.start is not None
    record = load_manifest(run).start
    if record is None:
        raise UserError(f"{run.manifest}: damaged: says nothing of the start run", fix="begin a new run")
    try:
        start = open_start(recipe, recipe.training.start, run.directory, record.checkpoints)
        weights = mean_weights(start.checkpoints)
    except UserError as error:
        raise UserError(
            f"{run.directory}: has no checkpoint of its own yet, and its start run cannot be read: {error.problem}",
            fix="restore the start run, or begin a new run",
        ) from None
    found = weights_digest(weights)
    if found != record.weights_digest:
        raise UserError(
            f"{start.directory}: its weights have changed since {run.directory} was begun: digest {found}, "
            f"{run.manifest.name} says {record.weights_digest}",
            fix="begin a new run",
        )
    rules = plan_taking_over(start, recipe, vocabulary).rules
    return lambda fresh: {name: rule(weights, fresh[name]) for name, rule in rules.items()}
