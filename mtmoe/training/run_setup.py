"""Run set-up: the run directory of a training, new or resumed."""

from __future__ import annotations

from pathlib import Path

import torch

from mtmoe.checkpoint import RunFiles, create_run, load_run_recipe, open_run, save_launch, save_recipe
from mtmoe.config import Recipe
from mtmoe.data.prepared.preparation import Prepared
from mtmoe.distributed.launch import launch_name
from mtmoe.precision import check_precision, choose_precision
from mtmoe.training.reporting import Reporter
from mtmoe.training.resume import check_resume
from mtmoe.training.start.starting_weights import begin_from
from mtmoe.training.teachers.teacher_runs import teacher_records, with_absolute_teachers


def open_or_create_run(
    recipe: Recipe, run_dir: Path, prepared: Prepared, resume: bool, device: torch.device, reporter: Reporter
) -> RunFiles:
    """Create the run, or check that what is resumed fits the recipe and the data.

    The run's recipe.toml then says what is trained from now on; of precision "auto", what it means on the device on
    which the run began.

    Raises:
        UserError: there is a run already, or none to resume; the recipe or the data do not fit the run; the device
            cannot compute in the run's precision.
    """
    saved = load_run_recipe(open_run(run_dir)) if resume else None
    wanted = recipe.training.precision
    precision: str = saved.training.precision if saved and wanted == "auto" else choose_precision(device, wanted)
    fix = "resume with --set training.precision=fp32"
    check_precision(device, precision, f"{run_dir}: was begun with training.precision", fix)
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"precision": precision})})
    recipe = with_absolute_teachers(recipe)
    if saved is None:
        teachers = teacher_records(recipe, run_dir, prepared.subwords_path)
        start = begin_from(recipe, run_dir, prepared.subwords_path)
        if start is not None:
            reporter.begun_from(start)
        if teachers:
            reporter.taught_by(teachers)
        launch = launch_name()
        return create_run(
            run_dir,
            recipe,
            prepared.subwords_path,
            prepared.lexicon_path,
            source_words=prepared.source_words_path,
            launch=launch,
            start=start,
            teachers=teachers,
        )
    run = open_run(run_dir)
    check_resume(run, saved, recipe, prepared, reporter.warning)
    save_launch(run, launch_name())
    save_recipe(run, recipe)
    return run
