"""The run directory of a training: begun, or checked against the recipe that goes on with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from mtmoe.checkpoint import (
    RunFiles,
    create_run,
    load_run_recipe,
    open_run,
    save_launch,
    save_recipe,
)
from mtmoe.config import Recipe
from mtmoe.data.prepared.preparation import Prepared
from mtmoe.distributed.launch import launch_name
from mtmoe.errors import UserError
from mtmoe.precision import check_precision, choose_precision
from mtmoe.training.reporting import Reporter


def open_or_create_run(
    recipe: Recipe, run_dir: Path, prepared: Prepared, resume: bool, device: torch.device, reporter: Reporter
) -> RunFiles:
    """Create the run, or check that what is resumed fits the recipe and the data."""
    saved = load_run_recipe(open_run(run_dir)) if resume else None
    wanted = recipe.training.precision
    precision: str = saved.training.precision if saved and wanted == "auto" else choose_precision(device, wanted)
    fix = "resume with --set training.precision=fp32"
    check_precision(device, precision, f"{run_dir}: was begun with training.precision", fix)
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"precision": precision})})
    if saved is None:
        return create_run(run_dir, recipe, prepared.subwords_path, prepared.lexicon_path, launch=launch_name())
    run = open_run(run_dir)
    for table in ("task", "seed", "data", "subwords", "model"):
        for key, before, now in _differences(saved.model_dump()[table], recipe.model_dump()[table], table):
            raise UserError(
                f"{run_dir}: was trained with {key} = {before}, the recipe says {now}",
                fix="resume with the recipe of the run, or start a new run",
            )
    if run.subwords.read_bytes() != prepared.subwords_path.read_bytes():
        raise UserError(
            f"{run.subwords} differs from {prepared.subwords_path}: the data was prepared anew with another vocabulary",
            fix="resume with the data directory that the run began with",
        )
    for key in ("batch_tokens", "bptt_steps") if saved.training.bptt_steps else ():
        before, now = getattr(saved.training, key), getattr(recipe.training, key)
        if before != now:
            raise UserError(
                f"{run_dir}: was trained with training.{key} = {before}, the recipe says {now}, but the state of each "
                "row of running text goes on with it",
                fix=f"resume with --set training.{key}={before}, or start a new run",
            )
    for table in ("training", "decoding"):
        for key, before, now in _differences(saved.model_dump()[table], recipe.model_dump()[table], table):
            reporter.warning(f"resuming with {key} = {now} (was {before})")
    save_launch(run, launch_name())
    save_recipe(run, recipe)
    return run


def _differences(before: Any, now: Any, key: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before.keys() | now.keys()):
            yield from _differences(before.get(name), now.get(name), f"{key}.{name}")
    elif before != now:
        yield key, before, now
