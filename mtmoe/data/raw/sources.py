"""Sentence pairs out of whatever the recipe names: aligned files, TSV, JSON lines, TMX, Hugging Face."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from mtmoe.config.settings import (
    Data,
    HuggingFaceSource,
    JsonLinesSource,
    LinesSource,
    Source,
    TextSource,
    TmxSource,
    TsvSource,
)
from mtmoe.data.raw.fetching import locate
from mtmoe.data.raw.hugging_face import read_hugging_face
from mtmoe.data.raw.lines import LongLineError, decode_line, open_text_lines
from mtmoe.data.raw.misaligned_files import first_suspicious_line
from mtmoe.data.raw.sentence_pairs import INVALID_UTF8, TOO_LONG, BadLine, OnBadLine, Pair, ignore_bad_line
from mtmoe.data.raw.tmx import read_tmx
from mtmoe.errors import UserError
from mtmoe.languages import parse_direction
from mtmoe.progress import Progress, silent

__all__ = ["BadLine", "Pair", "open_text_lines", "read_pairs"]


def read_pairs(
    source: Source,
    data: Data,
    cache: Path,
    on_bad_line: OnBadLine | None = None,
    progress: Progress = silent,
) -> Iterator[Pair]:
    """Stream the pairs of a source, in its order and as they stand there (not cleaned). Where ``data`` is of one
    language, the source sides are empty, whatever the source has.

    Files are fetched into ``cache`` when they are not there yet, before this returns. Lines that
    are left out go to ``on_bad_line``, both sides of a pair together. Errors in the text are
    raised on the way, and those that show only at the end (two files of different length, a
    source without a pair) at the end: nothing may be built on pairs of an iterator that was not
    exhausted.
    """
    report = on_bad_line or ignore_bad_line
    if source.direction:
        direction = parse_direction(source.direction)
        languages = {
            "source_language": direction.source,
            "target_language": direction.target,
            "multilingual": None,
        }
        data = data.model_copy(update=languages)
    pairs = _read(source, data, cache, report, progress)
    return (Pair("", target) for _, target in pairs) if data.monolingual else pairs


def _read(source: Source, data: Data, cache: Path, report: OnBadLine, progress: Progress) -> Iterator[Pair]:
    skip = data.cleaning.on_invalid_utf8 == "skip"
    match source:
        case TextSource():
            paths = locate(source.source_file, cache, progress), locate(source.target_file, cache, progress)
            return _read_text(*paths, report, skip)
        case LinesSource():
            lines = _decoded_lines(locate(source.file, cache, progress), report, skip)
            return (Pair("", line) for _, line in lines)
        case TsvSource():
            return _read_tsv(locate(source.file, cache, progress), source, report, skip)
        case JsonLinesSource():
            return _read_json_lines(locate(source.file, cache, progress), source, report, skip)
        case TmxSource():
            languages = data.source_language, data.target_language
            return read_tmx(locate(source.file, cache, progress), *languages, report, skip=skip)
        case HuggingFaceSource():
            return read_hugging_face(source, data, report)


def _empty(path: Path) -> UserError:
    return UserError(f"{path}: is empty", fix="name a file that holds text, one sentence a line")


# ---------------------------------------------------------------------------------------------------- text


def _read_text(source_path: Path, target_path: Path, on_bad_line: OnBadLine, skip: bool) -> Iterator[Pair]:
    source_lines, target_lines = open_text_lines(source_path), open_text_lines(target_path)
    number = 0
    for number, (source, target) in enumerate(zip_longest(source_lines, target_lines), start=1):
        if source is None or target is None:
            num_lines = number + sum(1 for _ in (target_lines if source is None else source_lines))
            counts = (number - 1, num_lines) if source is None else (num_lines, number - 1)
            raise _different_line_counts(source_path, target_path, *counts)
        yield from _decoded_pair(source, target, (source_path, target_path), number, on_bad_line, skip)
    if number == 0:
        raise _empty(source_path)


def _decoded_pair(
    source: bytes, target: bytes, paths: tuple[Path, Path], number: int, on_bad_line: OnBadLine, skip: bool
) -> Iterator[Pair]:
    """Decode one pair, or none (and one call of ``on_bad_line``) when a side is too long, or not UTF-8 and may be skipped."""
    path = paths[0]
    try:
        source_text = decode_line(source, path, number, or_else=_SKIP_ADVICE)
        path = paths[1]
        target_text = decode_line(target, path, number, or_else=_SKIP_ADVICE)
    except LongLineError:
        on_bad_line(BadLine(str(path), number, TOO_LONG))
    except UserError:
        if not skip:
            raise
        on_bad_line(BadLine(str(path), number, INVALID_UTF8))
    else:
        yield Pair(source_text, target_text)


def _different_line_counts(source_path: Path, target_path: Path, num_source: int, num_target: int) -> UserError:
    problem = f"different numbers of lines: {source_path} has {num_source:,}, {target_path} has {num_target:,}"
    for path, num_lines in ((source_path, num_source), (target_path, num_target)):
        if num_lines == 0:
            return _empty(path)
    shorter, longer = source_path, target_path
    if num_source > num_target:
        shorter, longer = longer, shorter
    num_extra = abs(num_source - num_target)
    line = first_suspicious_line(open_text_lines(shorter), open_text_lines(longer), open_text_lines(longer), num_extra)
    fix = "line n of one file must be the translation of line n of the other"
    if line is not None:
        begin = "its extra line seems to be" if num_extra == 1 else f"its {num_extra:,} extra lines seem to begin"
        fix = f"look at about line {line:,} of {longer}: {begin} there; {fix}"
    return UserError(problem, fix=fix)


# ----------------------------------------------------------------------------------------------------- TSV


def _read_tsv(path: Path, source: TsvSource, on_bad_line: OnBadLine, skip: bool) -> Iterator[Pair]:
    source_index, target_index = source.source_column - 1, source.target_column - 1
    num_needed = max(source.source_column, source.target_column)
    for number, line in _decoded_lines(path, on_bad_line, skip):
        columns = line.split("\t")
        if len(columns) < num_needed:
            if not line.strip():
                on_bad_line(BadLine(str(path), number, "blank line"))
                continue
            raise UserError(
                f"{path}:{number}: has {_columns(len(columns))}, but column {num_needed} is to be read",
                fix="separate the columns by tabs, or correct source_column and target_column in the recipe",
            )
        yield Pair(columns[source_index], columns[target_index])


def _columns(number: int) -> str:
    return "1 column" if number == 1 else f"{number} columns"


def _decoded_lines(path: Path, on_bad_line: OnBadLine, skip: bool) -> Iterator[tuple[int, str]]:
    number = 0
    for number, line in enumerate(open_text_lines(path), start=1):
        try:
            text = decode_line(line, path, number, or_else=_SKIP_ADVICE)
        except LongLineError:
            on_bad_line(BadLine(str(path), number, TOO_LONG))
        except UserError:
            if not skip:
                raise
            on_bad_line(BadLine(str(path), number, INVALID_UTF8))
        else:
            yield number, text
    if number == 0:
        raise _empty(path)


# ----------------------------------------------------------------------------------------------- JSON lines


_SKIP_ADVICE = 'leave such lines out with data.cleaning.on_invalid_utf8 = "skip"'


class _BadRow(Exception):
    """A line that gives no pair, what to do about it, and what it is counted as when it is left out."""

    def __init__(self, problem: str, fix: str, counted_as: str = "") -> None:
        super().__init__(problem)
        self.problem, self.fix = problem, f"{fix}, or {_SKIP_ADVICE}"
        self.counted_as = counted_as or problem


def _read_json_lines(path: Path, source: JsonLinesSource, on_bad_line: OnBadLine, skip: bool) -> Iterator[Pair]:
    num_pairs, first_problem = 0, ""
    for number, line in _decoded_lines(path, on_bad_line, skip):
        if not line.strip():
            on_bad_line(BadLine(str(path), number, "blank line"))
            continue
        try:
            pair = _json_pair(line, source)
        except _BadRow as error:
            if not skip:
                raise UserError(f"{path}:{number}: {error.problem}", fix=error.fix) from None
            first_problem = first_problem or f"line {number}: {error.problem}"
            on_bad_line(BadLine(str(path), number, error.counted_as))
        else:
            num_pairs += 1
            yield pair
    if not num_pairs and first_problem:
        raise UserError(
            f"{path}: no line of it can be read; the first, {first_problem}",
            fix="correct the file, or source_key and target_key in the recipe",
        )


def _json_pair(line: str, source: JsonLinesSource) -> Pair:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _BadRow(f"not valid JSON: {error}", "every line must be one JSON object: correct it") from None
    pair = Pair(_text_at(row, source.source_key), _text_at(row, source.target_key))
    if not _is_encodable(pair):
        problem = "holds half of a surrogate pair (an escape \\ud800 to \\udfff), which is no text"
        raise _BadRow(problem, "correct the line", INVALID_UTF8)
    return pair


def _text_at(row: Any, key: str) -> str:
    """Return the text under a key; a dot goes into an object, unless the whole key stands there as it is."""
    value = row
    for part in [key] if isinstance(row, dict) and key in row else key.split("."):
        if not isinstance(value, dict) or part not in value:
            found = f"the keys there are {', '.join(map(repr, value))}" if isinstance(value, dict) else "no object"
            raise _BadRow(f"has no key {key!r} ({found})", "correct source_key and target_key in the recipe")
        value = value[part]
    if not isinstance(value, str):
        raise _BadRow(f"{key!r} is {json.dumps(value)[:40]}, not text", "correct the line or the key")
    return value


def _is_encodable(pair: Pair) -> bool:
    """Tell whether UTF-8 can hold the text: JSON can spell lone surrogates, which nothing later could write."""
    try:
        pair.source.encode("utf-8")
        pair.target.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
