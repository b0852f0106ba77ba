"""A finished data directory, as training and evaluation find it."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mtmoe.config import Recipe
from mtmoe.config.settings import Data
from mtmoe.data import manifest as manifests
from mtmoe.data.corpus import ParallelCorpus
from mtmoe.data.lexicon import LEXICON_NAME
from mtmoe.data.vocabularies import vocabulary_file
from mtmoe.errors import UserError


class EvaluationSet(NamedTuple):
    """Two text files, a sentence a line."""

    source: Path
    reference: Path


@dataclass(frozen=True)
class Prepared:
    """A finished data directory."""

    directory: Path
    manifest: Mapping[str, Any]

    @property
    def subwords_path(self) -> Path:
        """The vocabulary."""
        return vocabulary_file(self.directory)

    @property
    def lexicon_path(self) -> Path:
        """Likely target subwords of each source subword; text of one language has none."""
        return self.directory / LEXICON_NAME

    @property
    def data_settings(self) -> Data:
        """The recipe's table ``data`` that it was made by."""
        return Data.model_validate_json(json.dumps(_read_json(self.directory / "origin.json")))

    @functools.cached_property
    def report(self) -> Mapping[str, Any]:
        """What cleaning and splitting did."""
        return _read_json(self.directory / "report.json")

    @functools.cached_property
    def train(self) -> ParallelCorpus:
        """Encoded training text."""
        return ParallelCorpus(self.directory / "train")

    @functools.cached_property
    def valid(self) -> ParallelCorpus:
        """Encoded dev set, in the order of its text."""
        return ParallelCorpus(self.directory / "valid")

    @functools.cached_property
    def valid_source(self) -> Sequence[str]:
        """Source sentences of the dev set."""
        return _read_lines(self.directory / "text" / "valid.source")

    @functools.cached_property
    def valid_target(self) -> Sequence[str]:
        """References of the dev set, as they stand in its source."""
        return _read_lines(self.directory / "text" / "valid.target")

    @property
    def test_digests(self) -> dict[str, str]:
        """SHA-256 of each file of the test sets: equal for directories that hold the same test sets."""
        return {path: digest for path, digest in self.manifest["outputs"].items() if path.startswith("text/test/")}

    @property
    def test_sets(self) -> dict[str, EvaluationSet]:
        """Test sets by name, in the recipe's order.

        Raises:
            UserError: it holds text of one language.
        """
        if self.data_settings.monolingual:
            raise UserError(
                f"{self.directory}: holds text of one language, in which there is nothing to translate",
                fix="score it with the language model: mtmoe score RUN TEXT",
            )
        directory = self.directory / "text" / "test"
        names = self.manifest["test_sets"]
        return {name: EvaluationSet(directory / f"{name}.source", directory / f"{name}.target") for name in names}

    def check_holds(self, recipe: Recipe, parts: Sequence[str], keys: Sequence[str], cache: Path) -> None:
        """Raise UserError unless it holds what a person has asked for by name, beside the recipe.

        Args:
            parts: of "train", "valid" and "test", those for which files were given: their text is compared.
            keys: settings that were given, such as ``data.cleaning.max_characters``.
        """
        wanted = manifests.settings_of(recipe)
        for part in parts:
            wanted |= manifests.inputs_of(recipe, part, cache)
        prefixes = (*(f"data.{part}" for part in parts), *keys)

        def named(ingredients: Mapping[str, Any]) -> dict[str, Any]:
            return {
                key: value
                for key, value in ingredients.items()
                if any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)
            }

        found = manifests.differences(named(self.manifest["ingredients"]), named(wanted))
        if found:
            raise UserError(
                f"{self.directory}: holds other text than is asked for: {manifests.summary(found)}",
                fix="leave these options out, or begin another run with text that is prepared anew",
            )

    def check_suits(self, recipe: Recipe) -> None:
        """Raise UserError unless it was made for the recipe's languages and subword settings.

        The rest may differ: text may have come from a person's own files, and trainings with many seeds
        share one data directory.
        """
        decisive = ("subwords.", "data.source_language", "data.target_language")
        wanted, made_of = (
            {key: value for key, value in settings.items() if key.startswith(decisive)}
            for settings in (manifests.settings_of(recipe), self.manifest["ingredients"])
        )
        found = manifests.differences(made_of, wanted)
        if found:
            raise UserError(
                f"{self.directory}: was not prepared for this recipe: {manifests.summary(found)}",
                fix="run `mtmoe preprocess` with this recipe into a new directory",
            )
        taken = Path(recipe.subwords.file)
        if taken.is_file() and taken.read_bytes() != self.subwords_path.read_bytes():
            raise UserError(
                f"{self.subwords_path}: is another vocabulary than subwords.file = {str(taken)!r}",
                fix="run `mtmoe preprocess` with this recipe into a new directory",
            )


def open_prepared(data_dir: str | Path) -> Prepared:
    """Open what :func:`~mtmoe.data.preparation.prepare` made.

    Raises:
        UserError: when it is not a finished data directory of this format version.
    """
    directory = Path(data_dir)
    if not directory.is_dir():
        raise UserError(f"{directory}: no such directory", fix=f"make it: mtmoe preprocess RECIPE {directory}")
    path = directory / "manifest.json"
    if not path.is_file():
        raise UserError(
            f"{directory}: not a data directory (it has no manifest.json)",
            fix="name the directory that `mtmoe preprocess RECIPE DATA_DIR` made",
        )
    manifest = _read_json(path)
    found = manifest.get("format_version")
    if found != manifests.FORMAT_VERSION:
        raise UserError(
            f"{path}: format version {found}, but this program reads {manifests.FORMAT_VERSION}",
            fix="run `mtmoe preprocess` again, into a new directory",
        )
    return Prepared(directory, manifest)


def _read_lines(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}", fix="run `mtmoe preprocess` again") from None
    return text.split("\n")[:-1]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}", fix="run `mtmoe preprocess` again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no JSON object", fix="run `mtmoe preprocess` again")
    return content
