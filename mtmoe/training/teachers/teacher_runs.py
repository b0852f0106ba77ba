"""Teacher runs: opened, held against the recipe that learns from them, and kept to their weights.

The main process notes the digests of the weights when the run is created (:func:`teacher_records`). Every process then
loads the very checkpoints that the manifest names (:func:`load_teachers`), at each resume again: a teacher that has
changed would teach something else from that step on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mtmoe.checkpoint import (
    Checkpoint,
    RunFiles,
    TeacherRecord,
    check_file,
    find_checkpoints,
    load_manifest,
    load_run_recipe,
    load_weights,
    mean_weights,
    open_run,
    weights_digest,
)
from mtmoe.config import Recipe
from mtmoe.config.settings import Data
from mtmoe.data.subwords.vocabularies import load_vocabulary
from mtmoe.errors import UserError
from mtmoe.model.building import Network, build_model
from mtmoe.system.home_directory import expanded
from mtmoe.training.teachers.teachers import Teachers


class TeacherRun(NamedTuple):
    """A run that teaches. ``checkpoints``: the one that is meant, or those of a mean."""

    files: RunFiles
    recipe: Recipe
    checkpoints: list[Checkpoint]

    def weights(self) -> dict[str, Tensor]:
        """Read the weights, whole, by name."""
        return mean_weights(self.checkpoints)

    def network(self, weights: dict[str, Tensor]) -> Network:
        """Build the whole network, in evaluation mode and without gradients."""
        vocabulary = load_vocabulary(check_file(self.files, self.files.subwords))
        network = build_model(self.recipe, vocabulary.size)
        load_weights(network, weights, self.checkpoints[-1].path)
        return network.eval().requires_grad_(False)


def with_absolute_teachers(recipe: Recipe) -> Recipe:
    """Return the recipe with whole paths of its teachers: a resume may be started elsewhere."""
    settings = recipe.training.distillation
    if settings is None:
        return recipe
    teachers = tuple(str(expanded(teacher).absolute()) for teacher in settings.teachers)
    distillation = settings.model_copy(update={"teachers": teachers})
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"distillation": distillation})})


def open_teachers(recipe: Recipe, run_dir: Path | None, records: Sequence[TeacherRecord] = ()) -> list[TeacherRun]:
    """Open the teachers of a recipe, before any text is prepared; none where it has none.

    Args:
        run_dir: the run that is begun or resumed; None where there is none.
        records: what the run's manifest says of them, for what "best" meant when the run began.

    Raises:
        UserError: one is no run, or the run itself; it has no such checkpoint; task or languages differ; it has a
            mixture of softmaxes.
    """
    settings = recipe.training.distillation
    if settings is None:
        return []
    names = [record.checkpoints for record in records] or [(settings.checkpoint,)] * len(settings.teachers)
    return [_opened(recipe, run_dir, *each) for each in zip(settings.teachers, names, strict=True)]


def _opened(recipe: Recipe, run_dir: Path | None, teacher: str, checkpoints: Sequence[str]) -> TeacherRun:
    directory = expanded(teacher)
    if run_dir is not None and run_dir.exists() and directory.exists() and run_dir.samefile(directory):
        raise UserError(
            f"training.distillation.teachers names {teacher!r}, the run itself",
            fix="name another run, or give another RUN_DIR",
        )
    files = open_run(directory)
    opened = load_run_recipe(files)
    if opened.task != recipe.task:
        raise UserError(
            f'{directory}: is a run of task = "{opened.task}", but the recipe that it is to teach has task = '
            f'"{recipe.task}"',
            fix="name a teacher of the same task",
        )
    if opened.model.softmaxes > 1:
        raise UserError(
            f"{directory}: has model.softmaxes = {opened.model.softmaxes}, and teachers have one",
            fix="name a teacher with model.softmaxes = 1",
        )
    if not _same_languages(opened.data, recipe.data):
        raise UserError(
            f"{directory}: is of {opened.data.languages}, but the recipe that it is to teach is of "
            f"{recipe.data.languages}",
            fix="name a teacher of the same languages in the same direction",
        )
    return TeacherRun(files, opened, [c for name in checkpoints for c in find_checkpoints(files, name)])


def _same_languages(teacher: Data, student: Data) -> bool:
    if teacher.multilingual is not None or student.multilingual is not None:
        directions = [{source.direction for source in data.train} for data in (teacher, student)]
        return teacher.multilingual is not None and student.multilingual is not None and directions[1] <= directions[0]
    return all(teacher.same_sides(student))


def check_teachers_subwords(teachers: Sequence[TeacherRun], vocabulary_path: Path) -> None:
    """Raise UserError where a teacher has other subwords than the text: its words would not be the network's."""
    for teacher in teachers:
        own = check_file(teacher.files, teacher.files.subwords)
        if own.read_bytes() != vocabulary_path.read_bytes():
            directory = teacher.files.directory
            raise UserError(
                f"{directory}: has other subwords than {vocabulary_path}, so that its words are not those that it "
                "would teach",
                fix=f"prepare the text with its subwords: mtmoe preprocess RECIPE DATA --subwords-of {directory}, and "
                "all teachers need the same ones",
            )


def teacher_records(recipe: Recipe, run_dir: Path, vocabulary_path: Path) -> tuple[TeacherRecord, ...]:
    """Return what the manifest of a new run says of its teachers.

    Raises:
        UserError: as :func:`open_teachers` and :func:`check_teachers_subwords`; or the weights are damaged.
    """
    teachers = open_teachers(recipe, run_dir)
    check_teachers_subwords(teachers, vocabulary_path)
    return tuple(
        TeacherRecord(
            run=str(teacher.files.directory.absolute()),
            checkpoints=tuple(checkpoint.name for checkpoint in teacher.checkpoints),
            weights_digest=weights_digest(teacher.weights()),
        )
        for teacher in teachers
    )


def new_teachers(recipe: Recipe, vocabulary_path: Path, device: torch.device) -> Teachers | None:
    """Return the teachers of a recipe that is trained without a run, as a benchmark does; None where it has none.

    Raises:
        UserError: as :func:`teacher_records`.
    """
    settings = recipe.training.distillation
    if settings is None:
        return None
    teachers = open_teachers(recipe, None)
    check_teachers_subwords(teachers, vocabulary_path)
    return Teachers([teacher.network(teacher.weights()).to(device) for teacher in teachers], settings)


def load_teachers(recipe: Recipe, run: RunFiles, device: torch.device) -> Teachers | None:
    """Return the teachers of a run that is begun or resumed, on the device; None where it has none.

    Raises:
        UserError: one is gone or damaged, or has changed since the run was created.
    """
    settings = recipe.training.distillation
    records = load_manifest(run).teachers
    if settings is None and not records:
        return None
    if settings is None or len(records) != len(settings.teachers):
        now = 0 if settings is None else len(settings.teachers)
        raise UserError(
            f"{run.directory}: was begun with {len(records)} teachers, the recipe says {now}",
            fix="resume with the teachers that the run began with, or begin a new run (training.start can begin with "
            "the weights of this one)",
        )
    networks = []
    for teacher, record in zip(open_teachers(recipe, run.directory, records), records, strict=True):
        weights = teacher.weights()
        found = weights_digest(weights)
        if found != record.weights_digest:
            raise UserError(
                f"{teacher.files.directory}: its weights have changed since {run.directory} was begun: digest {found}, "
                f"{run.manifest.name} says {record.weights_digest}",
                fix="restore the teacher, or begin a new run",
            )
        networks.append(teacher.network(weights).to(device))
    return Teachers(networks, settings)
