"""The recipe of a training that starts from a run: its vocabulary and its replayed text are those of the start run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mtmoe.checkpoint import load_run_recipe, open_run
from mtmoe.checkpoint.run_data import run_data
from mtmoe.config import Recipe, recipe_from_dict
from mtmoe.config.settings import Start
from mtmoe.data.subwords.vocabularies import settings_to_take
from mtmoe.errors import UserError
from mtmoe.system.home_directory import expanded
from mtmoe.training.resume import must_resume


def with_text_of_start(recipe: Recipe, path: Path, run_dir: Path | None = None, *, resume: bool = False) -> Recipe:
    """Return the recipe with ``[subwords]`` and ``data.replay.data_dir`` as its start says.

    A run that is resumed has both in its own recipe, and its start run may be gone.

    Args:
        path: where the recipe is from, for errors.
        run_dir: the run that is begun or resumed; None where text is prepared alone.

    Raises:
        UserError: the start run has no vocabulary or no text, or the recipe takes another vocabulary.
    """
    start = recipe.training.start
    if start is None:
        return recipe
    if run_dir is not None and (resume or must_resume(run_dir)):
        saved = load_run_recipe(open_run(run_dir))
        changes: dict[str, Any] = {} if start.vocabulary == "own" else {"subwords": saved.subwords}
        if recipe.data.replay is not None and saved.data.replay is not None:
            changes["data"] = recipe.data.model_copy(update={"replay": saved.data.replay})
        return recipe.model_copy(update=changes)
    directory = expanded(start.run)
    open_run(directory)
    settings = recipe.model_dump(mode="json", exclude_none=True)
    if start.vocabulary == "same":
        _check_no_other_vocabulary(recipe, start)
        settings["subwords"] = settings_to_take(directory)
    elif start.vocabulary == "extended":
        settings["subwords"] |= {
            "extends": settings_to_take(directory)["file"],
            "extended_by": _new_side(recipe, directory),
        }
    if recipe.data.replay is not None and not recipe.data.replay.data_dir:
        settings["data"]["replay"]["data_dir"] = str(run_data(directory).absolute())
    return recipe_from_dict(settings, path)


def _new_side(recipe: Recipe, start: Path) -> str:
    """Return which side of the text is in another language than that of the start run, where it is one."""
    old, new = load_run_recipe(open_run(start)).data, recipe.data
    if old.multilingual is not None or new.multilingual is not None:
        return "both"
    same_source, same_target = old.same_sides(new)
    return "both" if same_source == same_target else "target" if same_source else "source"


def _check_no_other_vocabulary(recipe: Recipe, start: Start) -> None:
    """Check that ``subwords.file``, if it is there, has the start run's vocabulary: one recipe cannot have two."""
    given = Path(recipe.subwords.file)
    if not given.is_file():
        return
    taken = Path(settings_to_take(expanded(start.run))["file"])
    if given.read_bytes() != taken.read_bytes():
        raise UserError(
            f"subwords.file = {str(given)!r} is another vocabulary than that of training.start.run = {start.run!r}, "
            "but training.start.vocabulary = same",
            fix="leave subwords.file out, or add --set training.start.vocabulary=own (or extended)",
        )
