"""A finished data directory, as training and evaluation find it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from mtmoe.config import Recipe
from mtmoe.config.settings import Data
from mtmoe.data.prepared import manifest as manifests
from mtmoe.data.prepared.corpus import ParallelCorpus
from mtmoe.data.prepared.lexicon import LEXICON_NAME
from mtmoe.data.prepared.source_words import SOURCE_WORDS_NAME
from mtmoe.data.prepared.translation_table import TRANSLATION_TABLE_NAME
from mtmoe.data.subwords.vocabularies import vocabulary_file
from mtmoe.errors import UserError
from mtmoe.languages import Direction, normal_code, parse_direction
from mtmoe.system.json_files import JsonRecord, read_json
from mtmoe.system.readable_files import read_bytes

HELD_OUT_TEST = "held-out"
"""Name of a dev or test set that was split off; in a multilingual recipe, with its direction: held-out-en-fr."""

_REDO = "run `mtmoe preprocess` again, into a new directory"

_Counts = dict[str, Annotated[int, Field(ge=0)]]


class LongSentenceRecord(JsonRecord):
    """See :class:`mtmoe.data.cleaning.long_sentences.LongSentence`."""

    number: Annotated[int, Field(ge=1)]
    num_subwords: Annotated[int, Field(ge=0)]


class HeldOutReport(JsonRecord):
    """What was read of a dev or test set; of what was split off, only the longest sentences are told."""

    pairs: Annotated[int, Field(ge=0)] = 0
    unreadable: Annotated[int, Field(ge=0)] = 0
    first_unreadable: tuple[str, ...] = ()
    longest: tuple[LongSentenceRecord, ...] = ()


class Report(JsonRecord):
    """The content of report.json: for each source of a part by name, of training text the counts by rule."""

    train: dict[str, _Counts]
    valid: dict[str, HeldOutReport]
    test: dict[str, HeldOutReport]
    split: _Counts = Field(default_factory=dict)


class EvaluationSet(NamedTuple):
    """Two text files, a sentence a line."""

    source: Path
    reference: Path


@dataclass(frozen=True)
class Prepared:
    """A finished data directory."""

    directory: Path
    manifest: manifests.Manifest

    @property
    def subwords_path(self) -> Path:
        """Return the vocabulary.

        Raises:
            UserError: it cannot be read, or has changed since the directory was made.
        """
        return self._unchanged(vocabulary_file(self.directory))

    def _unchanged(self, path: Path) -> Path:
        """Return the path of a file that holds what was written; libraries read these files in C++, where a flipped bit
        can end the process."""
        content = read_bytes(path)
        found, expected = hashlib.sha256(content).hexdigest(), self.manifest.outputs.get(path.name)
        if found != expected:
            raise UserError(f"{path}: damaged: its SHA-256 is {found}, manifest.json says {expected}", fix=_REDO)
        return path

    @property
    def lexicon_path(self) -> Path:
        """Return likely target subwords of each source subword; text of one language has none."""
        path = self.directory / LEXICON_NAME
        return self._unchanged(path) if path.exists() else path

    @property
    def translation_table_path(self) -> Path:
        """Return how likely target subwords translate source subwords; text of one language has none."""
        path = self.directory / TRANSLATION_TABLE_NAME
        return self._unchanged(path) if path.exists() else path

    @property
    def source_words_path(self) -> Path:
        """Return the words of the source side; not every text has them."""
        path = self.directory / SOURCE_WORDS_NAME
        return self._unchanged(path) if path.exists() else path

    @property
    def data_settings(self) -> Data:
        """Return the recipe's table ``data`` that it was made by."""
        return read_json(self.directory / "origin.json", Data, fix=_REDO)

    def data_settings_for(self, recipe: Recipe) -> Data:
        """Return them with what a training on this text takes from its own recipe: the augmentation."""
        return self.data_settings.model_copy(update={"augmentation": recipe.data.augmentation})

    @functools.cached_property
    def report(self) -> Report:
        """Return what cleaning and splitting did."""
        return read_json(self.directory / "report.json", Report, fix=_REDO)

    @functools.cached_property
    def train(self) -> ParallelCorpus:
        """Return the encoded training text."""
        return ParallelCorpus(self.directory / "train").check()

    @functools.cached_property
    def valid(self) -> ParallelCorpus:
        """Return the encoded dev set, in the order of its text."""
        return ParallelCorpus(self.directory / "valid").check()

    @functools.cached_property
    def valid_source(self) -> Sequence[str]:
        """Return the source sentences of the dev set."""
        return _read_lines(self.directory / "text" / "valid.source")

    @functools.cached_property
    def valid_target(self) -> Sequence[str]:
        """Return the references of the dev set, as they stand in its source."""
        return _read_lines(self.directory / "text" / "valid.target")

    @property
    def test_digests(self) -> dict[str, str]:
        """Return SHA-256 of each file of the test sets: equal for directories that hold the same test sets."""
        return {path: digest for path, digest in self.manifest.outputs.items() if path.startswith("text/test/")}

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
        names = self.manifest.test_sets
        return {name: EvaluationSet(directory / f"{name}.source", directory / f"{name}.target") for name in names}

    def target_language(self, part: Literal["valid", "test"], name: str) -> str:
        """Return the code of the language that a dev or test set translates into: that of its own direction."""
        data = self.data_settings
        return data.target_language if data.multilingual is None else self.direction(part, name).target

    def direction(self, part: Literal["valid", "test"], name: str) -> Direction:
        """Return the two languages of a dev or test set; of a multilingual recipe, those of its own direction."""
        data = self.data_settings
        if data.multilingual is None:
            return Direction(data.source_language, data.target_language)
        sources = getattr(data, part)
        if sources == "split":
            return parse_direction(name.removeprefix(f"{HELD_OUT_TEST}-"))
        return next(parse_direction(source.direction) for source in sources if source.name == name)

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

        found = manifests.differences(named(self.manifest.ingredients), named(wanted))
        if found:
            raise UserError(
                f"{self.directory}: holds other text than is asked for: {manifests.summary(found)}",
                fix="leave these options out, or begin another run with text that is prepared anew",
            )

    def check_suits(self, recipe: Recipe) -> None:
        """Raise UserError unless it was made for the recipe's languages and subword settings.

        The rest may differ: text may have come from a person's own files, and trainings with many seeds
        share one data directory. Subwords that a recipe takes may also have been learned here (a start run's own data
        directory, say).
        """
        taken = Path(recipe.subwords.file) if recipe.subwords.file else None
        if taken and taken.is_file() and read_bytes(taken) != read_bytes(self.subwords_path):
            raise UserError(
                f"{self.subwords_path}: is another vocabulary than subwords.file = {str(taken)!r}",
                fix="run `mtmoe preprocess` with this recipe into a new directory",
            )
        decisive = ("subwords.", "data.source_language", "data.target_language")
        wanted, made_of = (
            {key: _in_normal_form(key, value) for key, value in settings.items() if key.startswith(decisive)}
            for settings in (manifests.settings_of(recipe), self.manifest.ingredients)
        )
        if taken and taken.is_file():
            made_of["subwords.learned"] = wanted["subwords.learned"]
        found = manifests.differences(made_of, wanted)
        if found:
            raise UserError(
                f"{self.directory}: was not prepared for this recipe: {manifests.summary(found)}",
                fix="run `mtmoe preprocess` with this recipe into a new directory",
            )


def open_prepared(data_dir: str | Path) -> Prepared:
    """Open what :func:`~mtmoe.data.prepared.preparation.prepare` made.

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
    return Prepared(directory, read_json(path, manifests.Manifest, fix=_REDO, format_version=manifests.FORMAT_VERSION))


def _in_normal_form(key: str, value: Any) -> Any:
    """Return the value of a setting; a language in one spelling."""
    return normal_code(value) if key.endswith("_language") and isinstance(value, str) else value


def _read_lines(path: Path) -> list[str]:
    try:
        text = read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: damaged: {error}", fix=_REDO) from None
    return text.split("\n")[:-1]
