"""Early stopping: when a beam is done, and which of its hypotheses can still matter (``decoding.early_stopping``).

Letters: Q beams, X active hypotheses, G beams that have any.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mtmoe.inference.search.beam_groups import best_of_group, group_starts
from mtmoe.inference.search.gnmt_score import length_penalty
from mtmoe.inference.search.search_options import SearchOptions

if TYPE_CHECKING:
    from mtmoe.inference.search.finished_hypotheses import FinishedHypotheses


def can_still_win(
    log_probability_X: np.ndarray, num_words_X: np.ndarray, beam_X: np.ndarray, finished: FinishedHypotheses
) -> np.ndarray:
    """Return which active hypotheses, grouped by beam, are worth extending.

    A hypothesis can at best stay as likely, become as long as can be and cover everything. With
    ``early_stopping = "best"`` a beam is done, too, when none of its hypotheses, as long as it is now, scores higher
    than the best finished one.

    Args:
        num_words_X: words so far, EOS not counted.
    """
    if not len(beam_X):
        return np.zeros(0, dtype=bool)
    options = finished.options
    reachable_X = log_probability_X / length_penalty(finished.max_length_Q[beam_X] + 1, options.length_alpha)
    # A beam goes on as a whole: fewer active hypotheses would let others in, and the best translation would depend on
    # num_best.
    starts_G, group_X = group_starts(beam_X)
    is_open_X = best_of_group(reachable_X, starts_G, group_X) > finished.to_beat_Q[beam_X]
    if options.early_stopping == "best":  # than the best, not than the last of those wanted: see above
        now_X = log_probability_X / length_penalty(num_words_X + 1, options.length_alpha)
        is_open_X &= best_of_group(now_X, starts_G, group_X) > finished.best_Q[beam_X]
    can_win_X: np.ndarray = is_open_X & (reachable_X >= finished.best_Q[beam_X] - options.prune_margin)
    return can_win_X


def score_to_beat(scores: Sequence[float], options: SearchOptions) -> float | None:
    """Return the score that a further hypothesis of a beam must exceed; None where that is as it was before.

    It is that of the last of the hypotheses that are wanted; +inf once the beam has as many finished ones as it is
    wide, unless the stopping is to be exact.

    Args:
        scores: of the finished hypotheses, highest first.
    """
    if len(scores) >= options.width and options.early_stopping != "exact":
        return np.inf
    num_wanted = min(options.num_best, options.width)
    return scores[num_wanted - 1] if len(scores) >= num_wanted else None
