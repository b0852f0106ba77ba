"""The translations that each beam has finished, and what they rule out.

Letters: Q beams (one or more of each sentence), X live hypotheses, C ways to extend one.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mtmoe.inference.search.hypothesis import Hypothesis, length_penalty
from mtmoe.inference.search.search_options import SearchOptions


class Ending(NamedTuple):
    """A finished hypothesis, not yet spelt out: EOS comes after row ``row`` of those that live at ``step``."""

    score: float
    log_probability: float
    num_tokens: int
    step: int
    row: int
    eos_log_probability: float
    cut_off: bool


class Finished:
    """Of each beam, best first."""

    def __init__(self, max_length_Q: np.ndarray, options: SearchOptions) -> None:
        self.options = options
        self.max_length_Q = max_length_Q
        self.num_wanted = min(options.num_best, options.width)
        self.endings_Q: list[list[Ending]] = [[] for _ in max_length_Q]
        self.best_Q = np.full(len(max_length_Q), -np.inf)
        self.to_beat_Q = np.full(len(max_length_Q), -np.inf)
        """Score of the last of those wanted, once there are so many; +inf for a beam that is done."""

    def add(self, beam: int, ending: Ending) -> None:
        """Take in one hypothesis, and drop those that it puts far below the best."""
        endings = self.endings_Q[beam]
        bisect.insort(endings, ending, key=lambda ending: -ending.score)
        best = endings[0].score
        while endings[-1].score < best - self.options.prune_margin:
            endings.pop()
        self.best_Q[beam] = best
        if len(endings) >= self.options.width and self.options.early_stopping != "exact":
            self.to_beat_Q[beam] = np.inf
        elif len(endings) >= self.num_wanted:
            self.to_beat_Q[beam] = endings[self.num_wanted - 1].score

    def is_hopeful(self, log_probability_X: np.ndarray, num_words_X: np.ndarray, beam_X: np.ndarray) -> np.ndarray:
        """Which live hypotheses, grouped by beam, are worth extending; ``num_words_X``: those that they have so far.

        What a hypothesis can reach at most: it stays as likely, becomes as long as can be, covers everything. With
        ``early_stopping = "best"`` a beam is done when none, as long as it is now, scores higher than the best one.
        """
        if not len(beam_X):
            return np.zeros(0, dtype=bool)
        alpha = self.options.length_alpha
        reachable_X = log_probability_X / length_penalty(self.max_length_Q[beam_X] + 1, alpha)
        # A beam goes on as a whole: fewer live hypotheses would let others in, and the best translation would depend
        # on num_best.
        starts, group_X = group_starts(beam_X)
        is_open_X = np.maximum.reduceat(reachable_X, starts)[group_X] > self.to_beat_Q[beam_X]
        if self.options.early_stopping == "best":  # than the best, not than the last of those wanted: see above
            now_X = log_probability_X / length_penalty(num_words_X + 1, alpha)
            is_open_X &= np.maximum.reduceat(now_X, starts)[group_X] > self.best_Q[beam_X]
        found: np.ndarray = is_open_X & (reachable_X >= self.best_Q[beam_X] - self.options.prune_margin)
        return found


def group_starts(beam_X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each run of equal numbers begins, and the run of each element."""
    is_start_X = np.empty(len(beam_X), dtype=bool)
    is_start_X[:1] = True
    np.not_equal(beam_X[1:], beam_X[:-1], out=is_start_X[1:])
    return np.flatnonzero(is_start_X), is_start_X.cumsum() - 1


def best_of_beams(beams: Sequence[list[Hypothesis]], options: SearchOptions) -> list[Hypothesis]:
    """The hypotheses of one sentence from those of its beams: samples as they were drawn, others best first.

    Beams that found the same translation count once.
    """
    everything = [hypothesis for beam in beams for hypothesis in beam]
    if len(beams) > 1 and not options.sampling:
        distinct: dict[tuple[int, ...], Hypothesis] = {}
        for hypothesis in sorted(everything, key=lambda hypothesis: -hypothesis.score):
            distinct.setdefault(hypothesis.ids, hypothesis)
        everything = list(distinct.values())
    return everything[: options.num_best]
