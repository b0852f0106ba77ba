"""Selecting: from the measures of all pairs to the score that a kept pair has at least, and what becomes of each pair.

Measured pairs are lines of text: the rule that a pair breaks, or nothing, and its measures, with tabs between.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from operator import mul
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtmoe.filtering.criteria import BELOW_LEAST, BELOW_SCORE, MEASURES, Selection
from mtmoe.filtering.measuring import MeasuredPair
from mtmoe.filtering.score_ranks import scores_at_ranks

_LINES_AT_ONCE = 1 << 16
NUM_DECILES = 10


class Decision(NamedTuple):
    """What becomes of a pair.

    broken: why it is left out; empty for a pair that is kept. score: NaN where a rule is broken. values: its measures.
    """

    broken: str
    score: float
    values: tuple[float, ...]

    @property
    def is_scored(self) -> bool:
        """Return whether the pair breaks no rule: it is kept, or left out for its score alone."""
        return not math.isnan(self.score)


class Border(NamedTuple):
    """Where scores end that are kept: ``score`` is, if ``num_equal`` pairs of this very score are not used up."""

    score: float = -math.inf
    num_equal: float = math.inf


def measured_line(measured: MeasuredPair) -> str:
    """Return a measured pair as a line of text."""
    return "\t".join((measured.broken, *(f"{value:.6f}" for value in measured.values))) + "\n"


class MeasuredText:
    """The measured pairs in a file, weighed as a selection says."""

    def __init__(self, path: Path, measures: Sequence[str], selection: Selection) -> None:
        """``measures``: names of the columns behind the rule."""
        self._path, self._measures, self._selection = path, measures, selection
        self._weights = tuple(weights_of(measures, selection).values())
        self._least = [(measures.index(name), least) for name, least in selection.least.items()]
        self.num_scored = sum(map(len, self._scores()))
        """Pairs that break no rule."""

    def decisions(self, border: Border) -> Iterator[Decision]:
        """Yield what becomes of each pair, in order."""
        num_left = border.num_equal
        for broken, score, values in self._scored():
            if not broken and (score < border.score or (score == border.score and num_left <= 0)):
                broken = BELOW_SCORE
            elif not broken and score == border.score:
                num_left -= 1
            yield Decision(broken, score, values)

    def border(self) -> Border:
        """Find the score from which pairs are kept: of equal ones the first, so that their number is as asked for."""
        selection = self._selection
        if selection.least_score is not None:
            return Border(float(np.float32(selection.least_score)))
        if selection.keep_pairs is not None:
            num_kept = selection.keep_pairs
        elif selection.keep_share is not None:
            num_kept = round(selection.keep_share * self.num_scored)
        else:
            return Border()
        if num_kept >= self.num_scored:
            return Border()
        if num_kept == 0:
            return Border(math.inf)
        (found,) = scores_at_ranks(self._scores, [self.num_scored - num_kept])
        num_above = self.num_scored - found.num_below - found.num_equal
        return Border(found.score, num_kept - num_above)

    def deciles(self) -> list[float]:
        """Return the least score of each tenth of the scored pairs, the worst first; none where there are too few."""
        if not self._measures or self.num_scored < NUM_DECILES:
            return []
        ranks = [place * self.num_scored // NUM_DECILES for place in range(NUM_DECILES)]
        return [found.score for found in scores_at_ranks(self._scores, ranks)]

    def _scores(self) -> Iterator[np.ndarray]:
        scored = self._scored()
        while batch := list(itertools.islice(scored, _LINES_AT_ONCE)):
            yield np.array([decision.score for decision in batch if decision.is_scored], np.float32)

    def _scored(self) -> Iterator[Decision]:
        with self._path.open(encoding="utf-8") as lines:
            for line in lines:
                broken, *columns = line.rstrip("\n").split("\t")
                values = tuple(map(float, columns))
                if not broken and any(values[place] < least for place, least in self._least):
                    broken = BELOW_LEAST
                score = math.nan if broken else float(np.float32(sum(map(mul, self._weights, values))))
                yield Decision(broken, score, values)


def weights_of(measures: Sequence[str], selection: Selection) -> Mapping[str, float]:
    """Return the weight of each measure."""
    return {name: selection.weights.get(name, MEASURES[name].weight) for name in measures}
