"""``mtmoe preprocess``: from text to a data directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtmoe.errors import UserError
from mtmoe.languages import unknown_codes

from ..console import command_line, note, shown_progress, warn
from ..options import (
    DIRECTORY,
    cache_option,
    own_files_options,
    own_recipe,
    recipe_argument,
    set_option,
    start_option,
    subwords_of_option,
    workers_option,
)
from .fetch import tell_downloads, told_what_is_missing

if TYPE_CHECKING:
    from mtmoe.config import Recipe
    from mtmoe.data.prepared.data_directory import Prepared

_MOST_LINES_TOLD = 3


@click.command()
@recipe_argument
@click.argument("data_dir", metavar="DATA_DIR", type=DIRECTORY)
@own_files_options
@subwords_of_option
@start_option
@set_option
@workers_option
@cache_option
def preprocess(recipe_name: str, data_dir: Path, num_workers: int | None, cache: Path | None, **own: Any) -> None:
    """Clean, split and encode a recipe's text into DATA_DIR.

    Downloads what is missing. The same text, recipe and seed give the same bytes; DATA_DIR/report.json counts
    what each cleaning rule did. A DATA_DIR that is finished is used as it is.
    """
    recipe = own_recipe(recipe_name, **own)
    check_teachers(recipe)
    warn_of_languages(recipe)
    prepare_data(recipe, recipe_name, data_dir, cache, num_workers)
    note(f"{data_dir} is ready; next: {command_line('train', recipe_name, 'RUN_DIR', '--data', data_dir)}")


def check_teachers(recipe: Recipe, run_dir: Path | None = None, data_dir: Path | None = None) -> None:
    """Check, before any text is prepared, that the recipe's teachers are there and have the subwords that it gets.

    Args:
        run_dir: the run that they are to teach. data_dir: text that is prepared already.
    """
    if recipe.training.distillation is None:
        return
    from mtmoe.data.prepared.data_directory import open_prepared
    from mtmoe.data.subwords.vocabularies import vocabulary_to_take
    from mtmoe.training.teachers.teacher_runs import check_teachers_subwords, open_teachers

    teachers = open_teachers(recipe, run_dir)
    if data_dir is not None:
        check_teachers_subwords(teachers, open_prepared(data_dir).subwords_path)
    elif recipe.subwords.file:
        check_teachers_subwords(teachers, vocabulary_to_take(recipe.subwords))
    else:
        raise UserError(
            f"subwords.extends = {recipe.subwords.extends!r} adds subwords of the text, and a student needs those of "
            "its teachers",
            fix=f"--subwords-of {teachers[0].files.directory}, or --data with text that has their subwords",
        )


def warn_of_languages(recipe: Recipe) -> None:
    """Warn once of each language code that is not known."""
    for text in unknown_codes(recipe.data.language_codes):
        warn(text)


def prepare_data(recipe: Recipe, recipe_name: str, data_dir: Path, cache: Path | None, num_workers: int | None) -> None:
    """Download, clean, split and encode the recipe's text, with progress on standard error."""
    from mtmoe.data.prepared.preparation import prepare
    from mtmoe.data.raw import fetching
    from mtmoe.system.cpu_cores import num_cores

    where = cache or fetching.cache_directory()
    missing = [download for download in fetching.planned_downloads(recipe, where) if not download.cached]
    tell_downloads(missing, where)
    with shown_progress() as progress, told_what_is_missing(recipe, recipe_name, where):
        preparation = prepare(recipe, data_dir, where, num_workers=num_workers or num_cores(), progress=progress)
    if preparation.reused:
        note(f"{data_dir} was prepared before, from the same text and settings")
    _tell_prepared(preparation.prepared)
    _warn_of_long_sentences(preparation.prepared, recipe)


def _tell_prepared(prepared: Prepared) -> None:
    """Tell in a few lines what became of the text; report.json has the whole."""
    for name, counts in prepared.report.train.items():
        told = ", ".join(f"{count:,} {rule.replace('_', ' ')}" for rule, count in counts.items() if count)
        note(f"{name}: {told}")
    for called, sets in (("dev set", prepared.report.valid), ("test set", prepared.report.test)):
        for name, found in sets.items():
            if found.unreadable:
                first = "; ".join(found.first_unreadable[:_MOST_LINES_TOLD])
                warn(f"{called} {name}: {found.unreadable:,} rows without a pair are left out ({first})")
    num_pairs = prepared.manifest.num_pairs
    tests = ", ".join(f"{count:,} in {name}" for name, count in prepared.manifest.test_sets.items())
    unit = "sentences" if prepared.data_settings.monolingual else "pairs"
    note(
        f"{num_pairs['train']:,} {unit} to train on, {num_pairs['valid']:,} dev {unit}; test {unit}: {tests or 'none'}"
    )


def _warn_of_long_sentences(prepared: Prepared, recipe: Recipe) -> None:
    """Warn of very long sentences in dev and test text, from which nothing is left out; running text has none."""
    if recipe.training.bptt_steps:
        return
    longest = recipe.training.max_tokens_per_sentence
    for called, sets in (("dev", prepared.report.valid), ("test", prepared.report.test)):
        for name, found in sets.items():
            told = [
                f"sentence {sentence.number:,} has {sentence.num_subwords:,} subwords"
                for sentence in found.longest
                if sentence.num_subwords > longest
            ]
            if told:
                warn(
                    f"{called} set {name}: {', '.join(told)}, more than training.max_tokens_per_sentence = {longest}, "
                    "up to which sentences are trained on; they are measured whole, which takes time that grows with "
                    "the square of the length: check whether these lines are one sentence each"
                )
