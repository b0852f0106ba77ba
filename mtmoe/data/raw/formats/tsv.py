"""Tab-separated columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mtmoe.config.settings import TsvSource
from mtmoe.data.raw.formats.decoded_lines import decoded_lines
from mtmoe.data.raw.formats.reading import Reading
from mtmoe.data.raw.sentence_pairs import BadLine, OnBadLine, Pair
from mtmoe.errors import UserError


def read_tsv(source: TsvSource, reading: Reading) -> Iterator[Pair]:
    """Read two columns of each line; blank lines are left out."""
    return _read(reading.locate(source.file), source, reading.on_bad_line, reading.skips_invalid)


def _read(path: Path, source: TsvSource, on_bad_line: OnBadLine, skip: bool) -> Iterator[Pair]:
    source_index, target_index = source.source_column - 1, source.target_column - 1
    num_needed = max(source.source_column, source.target_column)
    for number, line in decoded_lines(path, on_bad_line, skip):
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
