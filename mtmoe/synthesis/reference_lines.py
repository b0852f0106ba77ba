"""Reference lines: the translations by people that belong to the lines of a text, read beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mtmoe.inference.files.line_chunks import ChunkSize, RawLine, decode_leniently, raw_line_chunks


class ReferenceLines:
    """Lines of a file that are asked for in ascending order; only those of a chunk are in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: Iterator[RawLine] | None = None

    def line(self, number: int) -> str:
        """Return a line, counted from 0, behind those that were asked for before; bytes that are no text are replaced.

        Raises:
            UserError: the file cannot be read.
        """
        if self._lines is None:
            chunks = raw_line_chunks([self._path], ChunkSize(), num_skipped=number)
            self._lines = (line for chunk in chunks for line in chunk)
        found = next((line for line in self._lines if line.number == number), None)
        if found is None:
            raise ValueError(f"{self._path}: line {number + 1} was read before, or there is none")
        return decode_leniently(found.content, number + 1, lambda _: None, is_first=found.is_first)
