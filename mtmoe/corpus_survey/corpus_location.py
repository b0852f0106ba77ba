"""Where a corpus lies and in which format: from the paths that a user names to a source of the recipe."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from mtmoe.config.settings import HuggingFaceSource
from mtmoe.corpus_survey.language_identification import base_code, identifiable_languages
from mtmoe.corpus_survey.text_beginning import NUM_LINES, first_bytes, first_lines
from mtmoe.corpus_survey.text_fields import LanguagePair, Row, choose_fields, several_languages
from mtmoe.data.raw.formats.hugging_face import load, splits_of
from mtmoe.data.raw.formats.tmx_languages import TmxLanguages, languages_of_tmx
from mtmoe.data.raw.lines import check_is_file
from mtmoe.errors import UserError
from mtmoe.languages import covers, normal_code

_COMPRESSED = (".gz", ".xz", ".bz2", ".zst")
_LEAST_SHARE = 0.9
_NOT_OF_A_NAME = re.compile("[^A-Za-z0-9_-]+")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_SPLITS = {"valid": ("validation", "valid", "dev"), "test": ("test",)}
"""Names of a data set's dev and test set."""
_TMX = re.compile(rb"<\0?t\0?m\0?x\0?[\s>]", re.IGNORECASE)


class Corpus(NamedTuple):
    """Parallel text on this machine.

    source: the settings of its source in a recipe (one of `data.train`), without a name.
    named: languages that its files, fields or elements name; empty where they name none.
    own_sets: `valid` and `test` of a recipe, as far as the corpus has such parts itself: the settings of their sources.
    """

    name: str
    source: dict[str, Any]
    named: LanguagePair
    own_sets: Mapping[str, dict[str, Any]] = MappingProxyType({})

    @property
    def format(self) -> str:
        """Return the format's name in a recipe."""
        return str(self.source["format"])


def locate(paths: Sequence[Path], asked: LanguagePair) -> Corpus:
    """Find the format of one file or directory, or of two aligned files, by their content and names.

    Raises:
        UserError: there is no such text, it is of one language, or it is in no format that is read.
    """
    for path in paths:
        if not path.is_dir():
            check_is_file(path)
    if len(paths) == 2:
        return _aligned_files(paths[0], paths[1])
    (path,) = paths
    if path.is_dir():
        return _data_set(path, asked)
    beginning = first_bytes(path)
    if _is_named(path, ".tmx") or _TMX.search(beginning):
        return _translation_memory(path, asked)
    lines = [line for line in first_lines(path) if line.strip()]
    if lines[0].lstrip("\ufeff").lstrip().startswith("{"):
        return _json_lines(path, lines, asked)
    if sum("\t" in line for line in lines) >= _LEAST_SHARE * len(lines):
        return _table(path, lines, asked)
    raise _no_pairs(path, lines)


def stem_of(path: Path) -> str:
    """Return the name of a corpus or recipe after a file: up to its first dot, in letters that such names may have."""
    return _NOT_OF_A_NAME.sub("_", path.name.partition(".")[0]).strip("_") or "corpus"


def _location(path: Path) -> dict[str, str]:
    return {"path": str(path.absolute())}


def _is_named(path: Path, suffix: str) -> bool:
    return _plain_name(path).endswith(suffix)


def _plain_name(path: Path) -> str:
    """Return the name in small letters, without the ending of a compression."""
    name = path.name.lower()
    return name.removesuffix(path.suffix.lower()) if path.suffix.lower() in _COMPRESSED else name


def _aligned_files(source: Path, target: Path) -> Corpus:
    for path in (source, target):
        if path.is_dir():
            raise UserError(f"{path}: is a directory", fix="name two files, or one directory of a data set")
    if source.resolve() == target.resolve():
        raise UserError(f"{source}: is named twice", fix="name the file of the other language, too")
    for path in (source, target):
        first_lines(path)
    codes = LanguagePair(*(_plain_name(path).rpartition(".")[2] for path in (source, target)))
    known = all(base_code(code) in identifiable_languages() for code in codes)
    source_table = {"format": "text", "source_file": _location(source), "target_file": _location(target)}
    return Corpus(stem_of(source), source_table, codes if known else LanguagePair("", ""))


def _translation_memory(path: Path, asked: LanguagePair) -> Corpus:
    found = languages_of_tmx(path)
    codes = [code for code in found.variants if code]
    if not codes:
        raise UserError(f"{path}: is a translation memory without a unit", fix="export it again, with its segments")
    bases = dict.fromkeys(base_code(code) for code in codes)
    if len(bases) == 1 and len(codes) == 1:
        raise UserError(
            f"{path}: is in one language, {codes[0]!r}; a translation needs two",
            fix="export it with the segments of both languages",
        )
    for wanted in filter(None, asked):
        if not any(covers(wanted, code) for code in codes):
            raise UserError(
                f"{path}: has no segment in {wanted!r}; its languages: {', '.join(codes)}",
                fix="choose two of them with --source and --target",
            )
    # Two variants of one language (pt-BR and pt-PT) keep their regions; else en takes en-US and en-GB.
    names = [normal_code(code) for code in codes] if len(bases) == 1 else list(bases)
    names = list(dict.fromkeys(names))
    if len(names) == 1:
        raise UserError(f"{path}: is in one language, {names[0]!r}", fix="export it with both languages")
    return Corpus(stem_of(path), {"format": "tmx", "file": _location(path)}, _two_of(names, asked, found, path))


def _two_of(names: list[str], asked: LanguagePair, found: TmxLanguages, path: Path) -> LanguagePair:
    """Return source and target: as asked for, else the header's source language first, else in order of appearance."""
    left = [name for name in names if not any(covers(name, code) or covers(code, name) for code in asked if code)]
    if 0 < asked.count("") < len(left):
        raise several_languages(str(path), names)
    header = base_code(found.source_language) if found.source_language else ""
    left.sort(key=lambda name: base_code(name) != header)
    source, target = (code or left.pop(0) for code in asked)
    return LanguagePair(source, target)


def _json_lines(path: Path, lines: Sequence[str], asked: LanguagePair) -> Corpus:
    rows = list(_json_rows(lines))
    if len(rows) < _LEAST_SHARE * len(lines):
        raise UserError(
            f"{path}: begins like JSON, but is not one object a line", fix="convert it: jq -c '.[]' FILE > FILE.jsonl"
        )
    fields = choose_fields(rows, asked, str(path))
    keys = {"source_key": fields.source, "target_key": fields.target}
    return Corpus(stem_of(path), {"format": "jsonl", "file": _location(path), **keys}, fields.named)


def _json_rows(lines: Sequence[str]) -> Iterator[Row]:
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            yield dict(_texts(row))


def _texts(row: dict[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield the texts of an object, and of those in it, by their dotted keys."""
    for key, value in row.items():
        if _LONE_SURROGATE.search(key):  # of a JSON escape: no recipe can name it
            continue
        if isinstance(value, str):
            yield f"{prefix}{key}", value
        elif isinstance(value, dict) and depth < 3:
            yield from _texts(value, f"{prefix}{key}.", depth + 1)


def _table(path: Path, lines: Sequence[str], asked: LanguagePair) -> Corpus:
    rows = [{str(n): text for n, text in enumerate(line.split("\t"), start=1)} for line in lines]
    fields = choose_fields(rows, asked, str(path), named_by_language=False)
    columns = {"source_column": int(fields.source), "target_column": int(fields.target)}
    return Corpus(stem_of(path), {"format": "tsv", "file": _location(path), **columns}, fields.named)


def _data_set(path: Path, asked: LanguagePair) -> Corpus:
    source = HuggingFaceSource(name="corpus", format="huggingface", dataset=str(path.absolute()))
    rows = [dict(_texts(row)) for row in itertools.islice(iter(load(source)), NUM_LINES)]
    if not rows:
        raise UserError(f"{path}: its split 'train' is empty", fix="name a data set that holds text")
    fields = choose_fields(rows, asked, str(path))
    keys = {"source_key": fields.source, "target_key": fields.target}
    settings = {"format": "huggingface", "dataset": source.dataset, **keys}
    found = splits_of(source)
    own_sets = {}
    for part, names in _SPLITS.items():
        name = next((name for name in names if name in found), None)
        if name is not None:
            own_sets[part] = {"name": name, **settings, "split": name}
    return Corpus(stem_of(path.absolute()), settings, fields.named, own_sets)


def _no_pairs(path: Path, lines: Sequence[str]) -> UserError:
    if _is_named(path, ".csv"):
        return UserError(f"{path}: has columns with commas, which are not read", fix="export it with tabs (TSV)")
    begin = lines[0].lstrip("\ufeff").lstrip()
    if begin.startswith("["):
        return UserError(f"{path}: is one JSON array", fix="convert it: jq -c '.[]' FILE > FILE.jsonl")
    if begin.startswith("<"):
        return UserError(f"{path}: is XML or HTML, but no translation memory (TMX)", fix="export it as TMX")
    return UserError(
        f"{path}: has text of one language alone, and no tabs; a translation needs two",
        fix=f"name the file of the other language, too: mtmoe init {path} OTHER_FILE",
    )
