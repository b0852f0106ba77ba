"""Subwords of a student: those of its teachers, whose words its own have to be."""

from __future__ import annotations

from pathlib import Path

from mtmoe.checkpoint import check_file, load_run_recipe, open_run
from mtmoe.config import Recipe, recipe_from_dict
from mtmoe.data.subwords.vocabularies import settings_to_take
from mtmoe.errors import UserError
from mtmoe.system.home_directory import expanded
from mtmoe.training.resume import must_resume


def with_subwords_of_teachers(
    recipe: Recipe, path: Path, run_dir: Path | None = None, *, resume: bool = False
) -> Recipe:
    """Return the recipe with ``[subwords]`` of the runs that teach it (``training.distillation``).

    A recipe that names a vocabulary keeps it, and so does one of whose teachers one is not there (yet): whoever needs
    them tells that (:func:`mtmoe.training.teachers.teacher_runs.open_teachers`). A run that is gone on with keeps its
    own.

    Args:
        path: of the recipe, for errors.
        run_dir: the run that is begun or resumed; None where there is none.

    Raises:
        UserError: a teacher is no run, or two of them have different subwords.
    """
    settings = recipe.training.distillation
    if settings is None or recipe.subwords.file or recipe.subwords.extends:
        return recipe
    if run_dir is not None and (resume or must_resume(run_dir)):
        return recipe.model_copy(update={"subwords": load_run_recipe(open_run(run_dir)).subwords})
    directories = [expanded(teacher) for teacher in settings.teachers]
    if not all(directory.exists() for directory in directories):
        return recipe
    first, *others = (open_run(directory) for directory in directories)
    content = check_file(first, first.subwords).read_bytes()
    for other in others:
        if check_file(other, other.subwords).read_bytes() != content:
            raise UserError(
                f"{first.directory} and {other.directory} have different subwords, so that no student can learn from "
                "both",
                fix="name teachers that were trained on the same data directory (--data), or with the same subwords "
                "(--subwords-of)",
            )
    return recipe_from_dict(
        recipe.model_dump(mode="json", exclude_none=True) | {"subwords": settings_to_take(first.directory)}, path
    )
