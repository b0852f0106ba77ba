"""Shards: consecutive stretches of a text's lines, one for each of several processes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Shard(NamedTuple):
    """Which stretch of how many; ``number`` counts from 1."""

    number: int = 1
    total: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"

    def lines(self, num_lines: int) -> range:
        """Return its lines of a text, from 0; all shards have as many, but for one line."""
        begin, end = (num_lines * place // self.total for place in (self.number - 1, self.number))
        return range(begin, end)

    def part_of(self, output: Path) -> Path:
        """Return the file of this shard's pairs until all are there: beside the output, which it is if it is alone."""
        digits = len(str(self.total))
        return output if self.total == 1 else output.with_name(f"{output.name}.{self.number:0{digits}}-of-{self.total}")


WHOLE = Shard()
"""All of a text."""


def shards_of(total: int) -> list[Shard]:
    """Return all shards, in the order of their lines."""
    return [Shard(number, total) for number in range(1, total + 1)]
