"""JSON lines: an object a line, whose two texts are found by their keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mtmoe.config.settings import JsonLinesSource
from mtmoe.data.raw.formats.decoded_lines import SKIP_ADVICE, decoded_lines
from mtmoe.data.raw.formats.reading import Reading
from mtmoe.data.raw.sentence_pairs import INVALID_UTF8, BadLine, OnBadLine, Pair
from mtmoe.errors import UserError


def read_json_lines(source: JsonLinesSource, reading: Reading) -> Iterator[Pair]:
    """Read the texts under the source's keys, of each line; blank lines are left out."""
    return _read(reading.locate(source.file), source, reading.on_bad_line, reading.skips_invalid)


class _BadRow(Exception):
    """A line that gives no pair, what to do about it, and what it is counted as when it is left out."""

    def __init__(self, problem: str, fix: str, counted_as: str = "") -> None:
        super().__init__(problem)
        self.problem, self.fix = problem, f"{fix}, or {SKIP_ADVICE}"
        self.counted_as = counted_as or problem


def _read(path: Path, source: JsonLinesSource, on_bad_line: OnBadLine, skip: bool) -> Iterator[Pair]:
    num_pairs, first_problem = 0, ""
    for number, line in decoded_lines(path, on_bad_line, skip):
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
