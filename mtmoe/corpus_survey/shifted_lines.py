"""Parts of a parallel text in which sources and targets are shifted by a line against each other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from mtmoe.data.raw.misaligned_files import misfit
from mtmoe.data.raw.sentence_pairs import Pair

_PAIRS_TOGETHER = 200
_LEAST_EVIDENCE = 4.5
"""In standard deviations of the sum over a part, were a shift as good as none."""


class ShiftedPart(NamedTuple):
    """Pairs, from 1, first and last included, whose sources fit the target of a neighbour better than their own."""

    first: int
    last: int


class ShiftFinder:
    """Looks at pairs on their way, a part of some hundred at a time."""

    def __init__(self) -> None:
        """Begin with nothing found."""
        self.parts: list[ShiftedPart] = []

    def watched(self, pairs: Iterable[Pair]) -> Iterator[Pair]:
        """Yield the pairs, and note the shifted parts among them in `parts`; neighbours become one part."""
        number = 0
        iterator = iter(pairs)
        while part := list(islice(iterator, _PAIRS_TOGETHER)):
            if len(part) == _PAIRS_TOGETHER and is_shifted(part):
                self._note(number + 1, number + len(part))
            number += len(part)
            yield from part

    @property
    def num_pairs(self) -> int:
        """Return the number of pairs in all shifted parts."""
        return sum(last - first + 1 for first, last in self.parts)

    def _note(self, first: int, last: int) -> None:
        if self.parts and self.parts[-1].last == first - 1:
            self.parts[-1] = ShiftedPart(self.parts[-1].first, last)
        else:
            self.parts.append(ShiftedPart(first, last))


def is_shifted(pairs: list[Pair]) -> bool:
    """Tell whether these pairs fit better when the targets are moved by one line, up or down.

    Lengths, numbers and question marks tell how well two sentences fit. In text that is sorted by length neighbours are
    alike, and nothing is found.
    """
    sources = [pair.source.encode("utf-8", "replace") for pair in pairs]
    targets = [pair.target.encode("utf-8", "replace") for pair in pairs]
    return any(
        _evidence(sources[1:-1], targets[1:-1], moved) > _LEAST_EVIDENCE for moved in (targets[2:], targets[:-2])
    )


def _evidence(sources: list[bytes], own: list[bytes], moved: list[bytes]) -> float:
    """Return how much better the moved targets fit than a source's own, in standard deviations of chance."""
    gains = [misfit(s, t) - misfit(s, m) for s, t, m in zip(sources, own, moved, strict=True)]
    square_sum = sum(gain * gain for gain in gains)
    return sum(gains) / math.sqrt(square_sum) if square_sum else 0.0
