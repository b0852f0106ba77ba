"""Report of a filter: how many pairs were kept and why others were not, and examples at each tenth of the scores."""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Sequence
from typing import Any, NamedTuple

from mtmoe.data.cleaning.sentence_hashes import hash64
from mtmoe.data.raw.sentence_pairs import Pair
from mtmoe.filtering.criteria import RULES
from mtmoe.filtering.selecting import Decision

NUM_EXAMPLES = 3


class Example(NamedTuple):
    """A pair, its number in the text (from 1), its score, and its measures."""

    number: int
    score: float
    measures: dict[str, float]
    source: str
    target: str


class Decile(NamedTuple):
    """A tenth of the pairs that break no rule, by score: from ``least`` to the next tenth's."""

    least: float
    num_pairs: int
    num_kept: int
    examples: list[Example]


class MeasureRange(NamedTuple):
    """Mean, least and most of a measure over the pairs that break no rule."""

    mean: float
    least: float
    most: float


class FilterReport(NamedTuple):
    """What a filter did.

    num_pairs: pairs that were read. num_unreadable: lines (units) besides, that could not be.
    left_out: pairs by the first of `RULES` that tells why they are not kept. least_score: of a kept pair; None where
    nothing was measured or nothing kept. deciles: the worst first; none where nothing was measured.
    """

    num_pairs: int
    num_unreadable: int
    num_kept: int
    left_out: dict[str, int]
    least_score: float | None
    measures: dict[str, MeasureRange]
    deciles: list[Decile]

    def as_data(self) -> dict[str, Any]:
        """Return the report as JSON can say it."""
        deciles = [
            {**decile._asdict(), "examples": [example._asdict() for example in decile.examples]}
            for decile in self.deciles
        ]
        measures = {name: found._asdict() for name, found in self.measures.items()}
        return {**self._asdict(), "measures": measures, "deciles": deciles}


class ReportWriter:
    """Counts pairs as they go by, and keeps a few of each decile: the same ones of the same text, drawn by a hash."""

    def __init__(self, measures: Sequence[str], deciles: Sequence[float]) -> None:
        """``deciles``: the least score of each."""
        self._measures, self._least = measures, list(deciles)
        self._num_pairs = self._num_kept = self._num_measured = 0
        self._left_out = dict.fromkeys(RULES, 0)
        self._least_kept = float("inf")
        self._sums = [0.0] * len(measures)
        self._ranges = [[float("inf"), float("-inf")] for _ in measures]
        self._num_of_decile, self._num_kept_of_decile = [0] * len(deciles), [0] * len(deciles)
        self._drawn: list[list[tuple[int, Example]]] = [[] for _ in deciles]

    def add(self, pair: Pair, decision: Decision) -> None:
        """Count a pair, the next one of the text."""
        self._num_pairs += 1
        is_kept = not decision.broken
        if is_kept:
            self._num_kept += 1
        else:
            self._left_out[decision.broken] += 1
        if not decision.is_scored or not self._measures:
            return
        self._num_measured += 1
        if is_kept:
            self._least_kept = min(self._least_kept, decision.score)
        for place, value in enumerate(decision.values):
            self._sums[place] += value
            least, most = self._ranges[place]
            self._ranges[place] = [min(least, value), max(most, value)]
        if self._least:
            self._add_to_decile(pair, decision, is_kept=is_kept)

    def _add_to_decile(self, pair: Pair, decision: Decision, *, is_kept: bool) -> None:
        place = bisect.bisect_right(self._least, decision.score) - 1
        self._num_of_decile[place] += 1
        self._num_kept_of_decile[place] += is_kept
        # A heap of the smallest hashes, negated: its first is the largest, the next to go.
        key = -hash64(f"example {self._num_pairs}")
        drawn = self._drawn[place]
        if len(drawn) == NUM_EXAMPLES and key <= drawn[0][0]:
            return
        measures = dict(zip(self._measures, decision.values, strict=True))
        entry = (key, Example(self._num_pairs, decision.score, measures, *pair))
        if len(drawn) < NUM_EXAMPLES:
            heapq.heappush(drawn, entry)
        else:
            heapq.heapreplace(drawn, entry)

    def report(self, num_unreadable: int) -> FilterReport:
        """Return what was counted."""
        number, ranges = self._num_measured, zip(self._measures, self._sums, self._ranges, strict=True)
        measures = {name: MeasureRange(total / number, *ends) for name, total, ends in ranges if number}
        deciles = [
            Decile(least, number, num_kept, sorted((example for _, example in drawn), key=lambda found: found.score))
            for least, number, num_kept, drawn in zip(
                self._least, self._num_of_decile, self._num_kept_of_decile, self._drawn, strict=True
            )
        ]
        left_out = {rule: number for rule, number in self._left_out.items() if number}
        least_score = self._least_kept if self._measures and self._num_kept else None
        return FilterReport(self._num_pairs, num_unreadable, self._num_kept, left_out, least_score, measures, deciles)
