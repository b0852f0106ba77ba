"""What lies where in a run directory, and runs themselves: begun, opened, locked.

Only this package knows these names.
"""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mtmoe.atomic_files import make_directory, write_atomically
from mtmoe.config import Recipe, recipe_from_dict, recipe_to_toml
from mtmoe.data.lexicon import LEXICON_NAME
from mtmoe.data.vocabularies import vocabulary_file, vocabulary_name
from mtmoe.errors import UserError
from mtmoe.locks import try_lock

FORMAT_VERSION = 1
STEP = "step-"
UNFINISHED, DOOMED = ".unfinished-", ".removed-"
WEIGHTS, TRAINING, STATE = "model.safetensors", "training.safetensors", "state.json"
WEIGHT_SHARDS, TRAINING_SHARDS = "model", "training"


_NUMBER = r"(?:\d{8}|[1-9]\d{8,})"
_STEP_NAME = re.compile(rf"{STEP}{_NUMBER}")
_AVERAGE_NAME = re.compile(rf"averaged-[1-9]\d*-{_NUMBER}-{_NUMBER}")


def is_step(name: str) -> bool:
    """Whether training gives a checkpoint this name. Others, such as a user's copies, are not ours to remove."""
    return _STEP_NAME.fullmatch(name) is not None


def is_average(name: str) -> bool:
    """Whether ``mtmoe average`` gives a checkpoint this name."""
    return _AVERAGE_NAME.fullmatch(name) is not None


class RunFiles(NamedTuple):
    """Paths inside a run directory."""

    directory: Path

    @property
    def recipe(self) -> Path:
        return self.directory / "recipe.toml"

    @property
    def subwords(self) -> Path:
        return vocabulary_file(self.directory)

    @property
    def lexicon(self) -> Path:
        return self.directory / LEXICON_NAME

    @property
    def metrics(self) -> Path:
        return self.directory / "metrics.jsonl"

    @property
    def launch(self) -> Path:
        return self.directory / ".launch"

    @property
    def tensorboard(self) -> Path:
        return self.directory / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        return self.directory / "checkpoints"


class Checkpoint(NamedTuple):
    """A complete checkpoint; averaged ones have the step of their newest part."""

    name: str
    step: int
    path: Path


def create_run(
    directory: Path, recipe: Recipe, subwords_model: Path, lexicon: Path | None = None, *, launch: str = ""
) -> RunFiles:
    """Begin a run. The recipe is written last: a directory without it is not a run.

    Args:
        lexicon: of the data directory; copied if it is there.
        launch: the torchrun job that begins it.

    Raises:
        UserError: the directory holds a run already, or something else.
    """
    run = RunFiles(directory)
    if run.recipe.exists():
        raise UserError(
            f"{directory}: holds a run already", fix="add --resume to go on with it, or give another directory"
        )
    make_directory(run.checkpoints)
    write_atomically(directory / vocabulary_name(subwords_model), subwords_model.read_bytes())
    if lexicon is not None and lexicon.exists():
        write_atomically(run.lexicon, lexicon.read_bytes())
    save_launch(run, launch)
    save_recipe(run, recipe)
    return run


def save_launch(run: RunFiles, launch: str) -> None:
    """Note which torchrun job trains the run: workers that it starts anew go on with it."""
    write_atomically(run.launch, launch.encode())


def belongs_to_launch(directory: Path, launch: str) -> bool:
    """Whether that torchrun job has begun or resumed the run, so that its workers need no ``--resume``."""
    run = RunFiles(directory)
    known = run.recipe.is_file() and run.launch.is_file()
    return known and bool(launch) and run.launch.read_text(encoding="utf-8") == launch


@contextlib.contextmanager
def locked_run(directory: Path) -> Iterator[None]:
    """Keep a second training process out of the run for as long as the context lasts.

    Raises:
        UserError: another process is training it.
    """
    make_directory(directory)
    lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        if not try_lock(lock, directory):
            raise UserError(f"{directory}: another process is training this run", fix="wait for it, or stop it first")
        yield
    finally:
        os.close(lock)


def open_run(directory: Path) -> RunFiles:
    """Raises UserError when the directory is not a run."""
    run = RunFiles(Path(directory))
    if not run.recipe.is_file():
        found = "does not exist" if not run.directory.exists() else "is not a run directory (it has no recipe.toml)"
        raise UserError(f"{directory}: {found}", fix="give the RUN_DIR of `mtmoe train`")
    return run


def save_recipe(run: RunFiles, recipe: Recipe) -> None:
    write_atomically(run.recipe, recipe_to_toml(recipe).encode())


def load_run_recipe(run: RunFiles) -> Recipe:
    """The resolved recipe that the run was trained with."""
    try:
        settings = tomllib.loads(run.recipe.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{run.recipe}: damaged: {error}", fix="restore it from a backup") from None
    return recipe_from_dict(settings, run.recipe)
