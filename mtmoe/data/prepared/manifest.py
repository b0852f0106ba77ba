"""What a data directory was made of: every setting and every input's hash, under the name a person knows it by."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

import mtmoe
from mtmoe.config import Recipe
from mtmoe.config.settings import Data, FileLocation, HuggingFaceSource, SacrebleuSource, Source
from mtmoe.data.raw.downloads import file_sha256
from mtmoe.data.raw.fetching import locate
from mtmoe.data.raw.formats.hugging_face import load
from mtmoe.data.raw.public_test_sets import test_set_of_source
from mtmoe.data.subwords.vocabularies import vocabulary_to_take
from mtmoe.progress import Progress, silent
from mtmoe.system.json_files import JsonRecord

FORMAT_VERSION = 2
"""Of the data directory. It goes up with every change after which the same recipe gives other text or ids."""

Ingredients = dict[str, Any]

_Count = Annotated[int, Field(ge=0, le=1 << 53)]
_FileName = Annotated[str, Field(pattern=r"^[^/\\.][^/\\]*$")]


class Manifest(JsonRecord):
    """The content of manifest.json. ``outputs``: SHA-256 of each file, by its path in the directory."""

    digest: str
    ingredients: dict[str, Any]
    num_pairs: dict[str, _Count]
    test_sets: dict[_FileName, _Count]
    outputs: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]]


# Settings of a source that directories which were made before them do not know of.
_ABSENT = {"direction": "", "origin": "human", "tag": ""}
# Where text lies and on which terms does not change what it says; its hash is an ingredient of its own.
_NO_INGREDIENTS = {"license", "streaming", "name"}


def settings_of(recipe: Recipe) -> Ingredients:
    """Return the settings that decide what a data directory holds, by dotted key, and the seed.

    ``data.augmentation`` is none of them: what it draws is never written.
    """
    elsewhere = {"file", "extends", "extended_by"}
    settings = dict(_flat("subwords.", recipe.subwords.model_dump(mode="json", exclude=elsewhere)))
    if recipe.subwords.file:  # where it lies does not matter; its hash is an ingredient of its own
        settings["subwords.learned"] = False
    if recipe.subwords.extends:  # likewise; directories that were made before this setting was there are still the same
        settings["subwords.extended_by"] = recipe.subwords.extended_by
    settings |= {
        f"data.{key}": value
        for key, value in _flat(
            "", recipe.data.model_dump(mode="json", exclude={"train", "valid", "test", "augmentation"})
        )
    }
    # Where the old text lies does not matter; what it was made of is an ingredient of its own.
    settings.pop("data.replay", None)
    settings.pop("data.replay.data_dir", None)
    if not recipe.data.monolingual:  # directories that were made before this setting was there are still the same
        del settings["data.cleaning.keep_blank_lines"]
    for part in ("train", "valid", "test"):
        sources = getattr(recipe.data, part)
        settings[f"data.{part}"] = "split" if sources == "split" else [source.name for source in sources]
        for source in () if sources == "split" else sources:
            settings |= _flat(f"data.{part}.{source.name}.", _own_settings(source))
    return settings | {"seed": recipe.seed}


def ingredients_of(recipe: Recipe, cache: Path, progress: Progress = silent) -> Ingredients:
    """Collect :func:`settings_of` the recipe and the hash of every input; fetch what is missing.

    Raises:
        UserError: when an input does not exist or cannot be fetched.
    """
    ingredients = settings_of(recipe)
    if recipe.subwords.file or recipe.subwords.extends:
        ingredients["data.vocabulary.sha256"] = file_sha256(vocabulary_to_take(recipe.subwords))
    for part in ("train", "valid", "test"):
        ingredients |= inputs_of(recipe, part, cache, progress)
    return ingredients


def inputs_of(recipe: Recipe, part: str, cache: Path, progress: Progress = silent) -> Ingredients:
    """Compute the hashes of train, valid or test alone; errors as :func:`ingredients_of`."""
    sources = getattr(recipe.data, part)
    return {
        f"data.{part}.{source.name}.{key}": digest
        for source in (() if sources == "split" else sources)
        for key, digest in _hashes(source, recipe.data, cache, progress)
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List a sentence for every ingredient that is not the same in both."""
    return [
        f"{key} is {_shown(new, key)}, but was {_shown(old, key)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def summary(found: Sequence[str]) -> str:
    """Return the first difference, and how many more there are."""
    return found[0] + (f" (and {len(found) - 1} more differences)" if len(found) > 1 else "")


def digest_of(ingredients: Mapping[str, Any]) -> str:
    """Return one hash over all ingredients."""
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Return the versions that made the directory; for people, and compared with nothing."""
    return {
        "mtmoe": mtmoe.__version__,
        "python": platform.python_version(),
        "numpy": importlib.metadata.version("numpy"),
        "sentencepiece": importlib.metadata.version("sentencepiece"),
    }


def output_hashes(directory: Path) -> dict[str, str]:
    """Return SHA-256 of every file below the directory, by relative path."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): file_sha256(path) for path in files}


def _own_settings(source: Source) -> dict[str, Any]:
    """Return a source's settings without its files."""
    return {
        key: value
        for key, value in source.model_dump(mode="json").items()
        if key not in _NO_INGREDIENTS and not isinstance(value, dict) and value != _ABSENT.get(key)
    }


def _hashes(source: Source, data: Data, cache: Path, progress: Progress) -> Iterator[tuple[str, str]]:
    if isinstance(source, HuggingFaceSource):
        if not source.streaming:
            yield "fingerprint", str(getattr(load(source), "_fingerprint", ""))
        return
    if isinstance(source, SacrebleuSource):
        found = test_set_of_source(source, data)
        yield "source.sha256", file_sha256(found.source)
        yield "reference.sha256", file_sha256(found.references[0])
    for key in type(source).model_fields:
        value = getattr(source, key)
        if isinstance(value, FileLocation):
            yield f"{key}.sha256", file_sha256(locate(value, cache, progress))


def _flat(prefix: str, table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value


def _shown(ingredients: Mapping[str, Any], key: str) -> str:
    return json.dumps(ingredients[key], ensure_ascii=False) if key in ingredients else "not there"
