"""Spool: cleaned pairs on disk between cleaning and encoding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from mtmoe.data.raw.sentence_pairs import Pair


class Spool:
    """Cleaned pairs on disk, so that text of any size passes through bounded memory.

    Cleaned text holds no tab and no newline.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("w", encoding="utf-8", newline="\n")

    def write(self, pairs: Iterable[Pair]) -> int:
        """Append pairs and return their number."""
        num_pairs = 0
        for source, target in pairs:
            self._file.write(f"{source}\t{target}\n")
            num_pairs += 1
        return num_pairs

    def close(self) -> None:
        """End the writing: from here on it can be read, as often as needed."""
        self._file.close()

    def __iter__(self) -> Iterator[Pair]:
        with self._path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                source, _, target = line[:-1].partition("\t")
                yield Pair(source, target)

    def remove(self) -> None:
        """Delete the file."""
        self._path.unlink()
