"""The start run: opened, and held against the recipe that is to begin with its weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mtmoe.checkpoint import Checkpoint, RunFiles, check_file, find_checkpoints, load_run_recipe, open_run
from mtmoe.config import Recipe
from mtmoe.config.settings import Data, Start
from mtmoe.data.subwords.vocabularies import Vocabulary, load_vocabulary
from mtmoe.errors import UserError
from mtmoe.system.home_directory import expanded
from mtmoe.training.start.architecture import check_architecture
from mtmoe.training.start.frozen_layers import check_frozen


class StartRun(NamedTuple):
    """A run whose weights another one begins with. ``checkpoints``: the one that is meant, or those of a mean."""

    directory: Path
    recipe: Recipe
    vocabulary: Vocabulary
    checkpoints: list[Checkpoint]


def open_start(recipe: Recipe, start: Start, run_dir: Path, checkpoints: Sequence[str] = ()) -> StartRun:
    """Open the start run of a recipe, before any text is prepared.

    Args:
        checkpoints: names in place of ``start.checkpoint``, for what "best" meant when the run began.

    Raises:
        UserError: it is no run, or the run itself; it has no such checkpoint; task, languages or architecture do not
            fit; a layer that is to be frozen is not there.
    """
    directory = expanded(start.run)
    if run_dir.exists() and directory.exists() and run_dir.samefile(directory):
        raise UserError(
            f"training.start.run = {start.run!r} is the run itself",
            fix="go on with it by --resume, or give another RUN_DIR to begin with its weights",
        )
    run = open_run(directory)
    opened = load_run_recipe(run)
    _check_task(directory, opened, recipe)
    _check_languages(directory, opened.data, recipe.data, start)
    check_architecture(directory, opened, recipe)
    check_frozen(recipe, start)
    names = checkpoints or (start.checkpoint,)
    return StartRun(directory, opened, _vocabulary(run), [c for name in names for c in find_checkpoints(run, name)])


def _vocabulary(run: RunFiles) -> Vocabulary:
    return load_vocabulary(check_file(run, run.subwords))


def _check_task(directory: Path, start: Recipe, recipe: Recipe) -> None:
    if start.task != recipe.task:
        raise UserError(
            f'{directory}: is a run of task = "{start.task}", but the recipe has task = "{recipe.task}"',
            fix="start from a run of the same task",
        )


def _check_languages(directory: Path, old: Data, new: Data, settings: Start) -> None:
    """Check that with the same subwords the languages are the same, and that else one side is."""
    if old.multilingual is not None and new.multilingual is None:
        raise UserError(
            f"{directory}: translates {old.languages}, told by a token in front of each sentence, but the recipe is of "
            f"{new.languages} alone",
            fix="write the recipe with [data.multilingual] and a direction for each source",
        )
    if new.multilingual is not None:
        return  # the tokens of its languages are looked for in the vocabulary
    same = old.same_sides(new)
    verb = "is of" if new.monolingual else "translates"
    if settings.vocabulary == "same" and not all(same):
        raise UserError(
            f"{directory}: {verb} {old.languages}, but the recipe is of {new.languages}",
            fix="for another language add --set training.start.vocabulary=extended, which adds subwords of its text",
        )
    if not any(same) and not new.monolingual:
        raise UserError(
            f"{directory}: translates {old.languages}, but the recipe is of {new.languages}: neither side is the same",
            fix="start from a run that has the source or the target language of the recipe",
        )
