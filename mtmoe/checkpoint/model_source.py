"""Model source: where a model to translate or score with is read from, a run directory or a package.

Whoever trains, or changes a run, works on the directory (:mod:`mtmoe.checkpoint.run_files`); all others ask
:func:`open_model`, and get the same model from either.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from mtmoe.checkpoint.packages.package import Package, is_package
from mtmoe.checkpoint.reading import find_checkpoints, mean_weights, stored_digest
from mtmoe.checkpoint.run_files import Checkpoint, load_run_recipe, open_run, read_checked
from mtmoe.config import Recipe, load_recipe
from mtmoe.data.subwords.vocabularies import Vocabulary, load_vocabulary


class ModelSource(Protocol):
    """A model that can be read. All methods raise UserError for what is damaged, missing or unreadable."""

    path: Path
    """As the user named it."""

    def shown(self, name: str) -> Path:
        """Return what messages call a file of it."""

    def read(self, name: str) -> bytes | None:
        """Return the checked content of a file by its name in a run directory; None where it is not there."""

    def recipe(self, overrides: Iterable[str] = ()) -> Recipe:
        """Return the recipe that it was trained with, with ``section.key=value`` overrides."""

    @property
    def vocabulary_name(self) -> str:
        """Return the name of the vocabulary's file."""

    def vocabulary(self) -> Vocabulary:
        """Load the vocabulary."""

    def checkpoints(self, name: str) -> list[Checkpoint]:
        """Return the checkpoints whose mean a name stands for (best, last:3 ...), oldest first."""

    def digest(self, checkpoint: Checkpoint) -> str:
        """Return a hash of the weights of a checkpoint."""

    def weights(self, checkpoints: Sequence[Checkpoint]) -> dict[str, Tensor]:
        """Return the mean of the weights of checkpoints in float32, by the names of the parameters."""


class RunDirectory:
    """A run directory as a source of its model."""

    def __init__(self, path: Path) -> None:
        """Open it; errors as :func:`mtmoe.checkpoint.run_files.open_run`."""
        self.path, self.files = path, open_run(path)

    def shown(self, name: str) -> Path:
        """Return the path of a file."""
        return self.files.directory / name

    def read(self, name: str) -> bytes | None:
        """Return its content; errors as :func:`mtmoe.checkpoint.run_files.read_checked`."""
        return read_checked(self.files, self.shown(name))

    def recipe(self, overrides: Iterable[str] = ()) -> Recipe:
        """Return the run's recipe."""
        overrides = tuple(overrides)
        return load_recipe(self.files.recipe, overrides) if overrides else load_run_recipe(self.files)

    @property
    def vocabulary_name(self) -> str:
        """Return the name of the vocabulary's file."""
        return self.files.subwords.name

    def vocabulary(self) -> Vocabulary:
        """Load the vocabulary."""
        return load_vocabulary(self.files.subwords, self.read(self.vocabulary_name))

    def checkpoints(self, name: str) -> list[Checkpoint]:
        """Return the checkpoints of a name; errors as :func:`mtmoe.checkpoint.reading.find_checkpoints`."""
        return find_checkpoints(self.files, name)

    def digest(self, checkpoint: Checkpoint) -> str:
        """Return the digest of its weights."""
        return stored_digest(checkpoint)

    def weights(self, checkpoints: Sequence[Checkpoint]) -> dict[str, Tensor]:
        """Return the mean of their weights."""
        return mean_weights(checkpoints)


def open_model(place: str | Path | ModelSource) -> ModelSource:
    """Open a run directory or a package; what is open already is returned as it is.

    Raises:
        UserError: it is neither, or is damaged.
    """
    if not isinstance(place, str | Path):
        return place
    path = Path(place)
    return Package(path) if is_package(path) else RunDirectory(path)
