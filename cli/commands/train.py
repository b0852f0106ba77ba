"""``mtmoe train``: a training run, new or resumed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtmoe import __version__
from mtmoe.errors import UserError
from mtmoe.languages import chosen_tokeniser

from ..console import command_line, note, shown_progress
from ..options import (
    DIRECTORY,
    cache_option,
    device_option,
    own_files_options,
    own_recipe,
    recipe_argument,
    set_option,
    start_option,
    subwords_of_option,
    workers_option,
)
from ..training_display import PlainTraining, shown_training
from .preprocess import check_teachers, prepare_data, warn_of_languages

if TYPE_CHECKING:
    from mtmoe.config import Recipe
    from mtmoe.training.reporting import Reporter
    from mtmoe.training.trainer import Finished


def _named_as_a_page(context: click.Context, parameter: click.Parameter, page: str | None) -> str | None:
    """Return FILE of ``--report``; the name of a recipe, which stands behind it by mistake, is refused."""
    if page and not page.lower().endswith((".html", ".htm")):
        raise click.BadParameter(f"{page} does not end in .html; without FILE, --report stands last on the line")
    return page


@click.command()
@recipe_argument
@click.argument("run_dir", metavar="RUN_DIR", type=DIRECTORY)
@click.option("--data", "data_dir", type=DIRECTORY, help="DATA_DIR of `mtmoe preprocess`.  [default: RUN_DIR/data]")
@click.option("--resume", is_flag=True, help="Go on with the run in RUN_DIR, exactly where its last checkpoint is.")
@click.option(
    "--report",
    "page",
    metavar="[FILE]",
    is_flag=False,
    flag_value="",
    callback=_named_as_a_page,
    help="Write a page about the run, anew as it is trained, into FILE or RUN_DIR/report.html.",
)
@own_files_options
@subwords_of_option
@start_option
@set_option
@device_option
@workers_option
@cache_option
@click.pass_context
def train(
    context: click.Context,
    recipe_name: str,
    run_dir: Path,
    data_dir: Path | None,
    resume: bool,
    page: str | None,
    device: str | None,
    num_workers: int | None,
    cache: Path | None,
    **own: Any,
) -> None:
    """Train a model into RUN_DIR.

    Without --data it fetches and preprocesses the recipe's text into RUN_DIR/data first. Ctrl-C (or SIGTERM)
    finishes the step and saves; with --resume the same command goes on as if it had never stopped.
    RUN_DIR/metrics.jsonl has all measurements; with --report a page of HTML shows them, as `mtmoe report` does
    afterwards. It loads itself anew in the browser.

    Several processes train one model together: `torchrun --nproc-per-node N -m mtmoe train ...`, each on a GPU of its
    own. The numbers are those of one process; training.batch_tokens is divided among them. Workers that torchrun
    starts anew (--max-restarts, --nnodes 1:4) go on from the last checkpoint of the run that their job trains; where
    they may move between nodes, give the job a name of its own (--rdzv-id).
    """
    if data_dir is not None and any(own[f"{part}_files"] for part in ("train", "valid", "test")):
        raise click.UsageError("--train, --valid and --test say what to preprocess; --data says that it is done")
    recipe = own_recipe(recipe_name, run_dir=run_dir, resume=resume, **own)
    _check_tokenisers(recipe)
    from mtmoe.checkpoint.run_data import earlier_data, link_data, place_of_data, run_data
    from mtmoe.device import choose_device
    from mtmoe.distributed.mesh import rank_and_size

    rank, num_processes = rank_and_size()
    if rank == 0:
        _check_page(page)
        resume = resume or _is_restart(run_dir)
        _check_start(recipe, run_dir, resume)
        if not resume:  # which goes by what its manifest says of them
            check_teachers(recipe, run_dir, data_dir)
        _check_run_dir(run_dir, resume)
        warn_of_languages(recipe)
    chosen_device = choose_device(device)
    if data_dir is not None:
        if rank == 0:
            _check_data(recipe, data_dir, earlier_data(run_dir))
            _check_text(recipe, data_dir, cache, own)
            link_data(run_dir, data_dir)
    elif resume:
        data_dir = run_data(run_dir)
        if rank == 0:
            _check_text(recipe, data_dir, cache, own)
    elif num_processes > 1:
        raise UserError(
            f"{num_processes} processes (WORLD_SIZE) and no --data: text is preprocessed by one process",
            fix=f"run `{command_line('preprocess', recipe_name, 'DATA_DIR')}` first, then add --data DATA_DIR",
        )
    else:
        data_dir = place_of_data(run_dir)
        prepare_data(recipe, recipe_name, data_dir, cache, num_workers)
    from mtmoe.system.process_settings import prepare_for_training
    from mtmoe.training.trainer import run_training

    prepare_for_training(chosen_device)
    # The others are silent by themselves, unless they have waited in vain.
    with contextlib.ExitStack() as shown:
        reporter = shown.enter_context(_shown(run_dir, page)) if rank == 0 else PlainTraining()
        finished = run_training(recipe, run_dir, data_dir, resume=resume, device=chosen_device, reporter=reporter)
    if rank == 0:
        if not finished.signal and chosen_device.type == "cpu" and recipe.task == "translation":
            _tune_decoding(run_dir, data_dir)
        _tell_end(finished, recipe_name, run_dir)
    if finished.signal:
        context.exit(128 + finished.signal)


@contextlib.contextmanager
def _shown(run_dir: Path, page: str | None) -> Iterator[Reporter]:
    """Yield what shows the training: on standard error and, if it is wanted, on a page."""
    with shown_training() as display:
        if page is None:
            yield display
            return
        from mtmoe.report.watched_report import WatchedReport
        from mtmoe.training.reporting import SeveralReporters

        output = Path(page) if page else run_dir / "report.html"
        with WatchedReport(run_dir, output, __version__, display.warning) as watched:
            yield SeveralReporters(display, watched)
    note(f"{output}: the page of the run")


def _check_page(page: str | None) -> None:
    """Check that the page of ``--report`` can be written."""
    if page and not Path(page).absolute().parent.is_dir():
        raise UserError(
            f"{page}: there is no directory {Path(page).parent}", fix="make it first, or name another place"
        )


def _check_tokenisers(recipe: Recipe) -> None:
    """Check, before any text is fetched or encoded, that what BLEU of the dev sets needs is installed."""
    settings = recipe.training.validation
    if recipe.task == "language-model" or not settings.translate_sentences:
        return
    from mtmoe.evaluation.bleu_tokenisers import ANOTHER_TOKENISER, check_tokeniser

    for language in recipe.data.valid_languages:
        check_tokeniser(chosen_tokeniser(settings.bleu_tokeniser, language), another=ANOTHER_TOKENISER)


def _is_restart(run_dir: Path) -> bool:
    """Return whether torchrun has started this process in place of one that trained the run, and say so."""
    from mtmoe.training.resume import must_resume

    if not must_resume(run_dir):
        return False
    note(f"going on with {run_dir}, which this torchrun job trains")
    return True


def _check_run_dir(run_dir: Path, resume: bool) -> None:
    """Check at once, not after an hour of preprocessing, that RUN_DIR fits ``--resume``."""
    from mtmoe.checkpoint import RunFiles, open_run

    if resume:
        open_run(run_dir)
    elif RunFiles(run_dir).recipe.exists():
        raise UserError(
            f"{run_dir}: holds a run already", fix="add --resume to go on with it, or give another directory"
        )


def _check_start(recipe: Recipe, run_dir: Path, resume: bool) -> None:
    """Check at once that the recipe can begin with the weights of its start run; a resume has weights of its own."""
    if resume or recipe.training.start is None:
        return
    from mtmoe.training.start.start_run import open_start

    open_start(recipe, recipe.training.start, run_dir)


def _check_data(recipe: Recipe, data_dir: Path, before: Path) -> None:
    """Check the data directory before the run is linked to it: a mistake must leave an existing link as it was."""
    from mtmoe.data.prepared.data_directory import open_prepared

    prepared = open_prepared(data_dir)
    prepared.check_suits(recipe)
    if before.exists() and open_prepared(before).manifest.digest != prepared.manifest.digest:
        raise UserError(
            f"{data_dir}: holds other text than {before}, which this run has been trained on",
            fix="leave --data out, or begin another run",
        )


def _check_text(recipe: Recipe, data_dir: Path, cache: Path | None, own: Mapping[str, Any]) -> None:
    """Check that the command line asks for no other text than there is: text is prepared once."""
    from mtmoe.data.prepared.data_directory import open_prepared
    from mtmoe.data.raw.fetching import cache_directory

    parts = [part for part in ("train", "valid", "test") if own[f"{part}_files"]]
    keys = [key.strip() for key, _, _ in (override.partition("=") for override in own["overrides"])]
    keys = [key for key in keys if key.partition(".")[0] == "data"]
    if parts or keys:
        open_prepared(data_dir).check_holds(recipe, parts, keys, cache or cache_directory())


def _tune_decoding(run_dir: Path, data_dir: Path) -> None:
    """Find out how the run translates fastest, where its dev set is large enough to tell."""
    from mtmoe.data.prepared.data_directory import open_prepared
    from mtmoe.training.decoding_tuning import FEWEST_LINES, tune_decoding

    prepared = open_prepared(data_dir)
    if len(prepared.valid_source) >= FEWEST_LINES:
        note("looking on the dev set for a faster way to translate that loses nothing")
    with shown_progress() as progress:
        tuning = tune_decoding(run_dir, prepared.valid_source, prepared.valid_target, progress=progress)
    if tuning is None:
        return
    own, kept = tuning.measured[0], tuning.kept
    bleu = next(one.bleu for one in tuning.measured if one.settings == kept.settings)
    note(
        f"translates with {kept.settings}: {bleu:.2f} BLEU on {kept.num_lines:,} dev lines, where the recipe's own "
        f"settings have {own.bleu:.2f} (these: --set decoding.mode=exact)"
    )


def _tell_end(finished: Finished, recipe_name: str, run_dir: Path) -> None:
    if finished.signal:
        note(f"stopped after step {finished.step:,}, which is saved; to go on, add --resume to the same command")
        return
    why = {"early_stopping": "the validation metric has stopped improving", "max_steps": "all steps are done"}
    note(f"finished at step {finished.step:,}: {why.get(finished.reason, finished.reason)}")
    from mtmoe.checkpoint import load_run_recipe, open_run

    run = os.fspath(run_dir)
    if load_run_recipe(open_run(run_dir)).task == "language-model":
        note(f"next: {command_line('score', run, 'TEXT')}")
    else:
        note(f"next: {command_line('bleu', run)}, or {command_line('translate', run)} < text")
