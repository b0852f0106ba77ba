"""Finished hypotheses of each beam.

Letters: Q beams, by the places of their sources.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mtmoe.inference.search.early_stopping import score_to_beat
from mtmoe.inference.search.hypothesis import Hypothesis
from mtmoe.inference.search.places import with_room_for
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.inference.search.selection.pruning import drop_far_below_best


class FinishedHypothesis(NamedTuple):
    """A hypothesis that has ended, by its back pointer: EOS comes after active hypothesis ``row`` of step ``step``."""

    score: float
    log_probability: float
    num_tokens: int
    step: int
    row: int
    eos_log_probability: float
    cut_off: bool


class FinishedHypotheses:
    """The finished hypotheses of all beams, highest score first, and what it takes to enter them."""

    def __init__(self, options: SearchOptions) -> None:
        """Start without beams."""
        self.options = options
        self.max_length_Q = np.zeros(0, dtype=np.int64)
        """Greatest length of the translations of each beam, EOS not counted."""
        self.best_Q = np.zeros(0)
        self.to_beat_Q = np.zeros(0)
        """Score of the last of those wanted, once there are so many; +inf for a beam that is done."""
        self._of_beam: dict[int, list[FinishedHypothesis]] = {}

    def enter(self, beam: int, max_length: int) -> None:
        """Take in a beam, which has none yet."""
        self.max_length_Q, self.best_Q, self.to_beat_Q = (
            with_room_for(values, beam) for values in (self.max_length_Q, self.best_Q, self.to_beat_Q)
        )
        self.max_length_Q[beam] = max_length
        self.best_Q[beam] = self.to_beat_Q[beam] = -np.inf
        self._of_beam[beam] = []

    def leave(self, beam: int) -> list[FinishedHypothesis]:
        """Return what a beam has, and forget it."""
        return self._of_beam.pop(beam)

    def add(self, beam: int, hypothesis: FinishedHypothesis) -> None:
        """Take in one hypothesis, and drop those that it puts far below the best."""
        finished = self._of_beam[beam]
        bisect.insort(finished, hypothesis, key=lambda hypothesis: -hypothesis.score)
        drop_far_below_best(finished, self.options.prune_margin)
        self.best_Q[beam] = finished[0].score
        to_beat = score_to_beat([hypothesis.score for hypothesis in finished], self.options)
        if to_beat is not None:
            self.to_beat_Q[beam] = to_beat


def best_of_beams(beams: Sequence[list[Hypothesis]], options: SearchOptions) -> list[Hypothesis]:
    """Return the hypotheses of one sentence from those of its beams: samples as they were drawn, others best first.

    Beams that found the same translation count once.
    """
    everything = [hypothesis for beam in beams for hypothesis in beam]
    if len(beams) > 1 and not options.sampling:
        distinct: dict[tuple[int, ...], Hypothesis] = {}
        for hypothesis in sorted(everything, key=lambda hypothesis: -hypothesis.score):
            distinct.setdefault(hypothesis.ids, hypothesis)
        everything = list(distinct.values())
    return everything[: options.num_best]
