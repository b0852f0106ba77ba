"""Hypothesis: one complete translation that a search has found.

Letters: S source positions, T target positions.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Hypothesis(NamedTuple):
    """One way to translate a sentence, complete."""

    ids: tuple[int, ...]
    """Subwords without BOS and EOS."""
    log_probability: float
    """log P(Y|X), natural logarithm, EOS included."""
    score: float
    """GNMT's s(Y, X), which ranks."""
    token_log_probabilities: tuple[float, ...]
    """One for each subword, then EOS's."""
    cut_off: bool
    """The greatest length was reached and EOS forced, though the model found another symbol likelier."""
    attention: Tensor | None = None
    """[T, S], float32 on the CPU: what each subword, then EOS, attended to in the source, EOS included. Kept only
    when it is asked for."""
    gain: float = 0.0
    """What soft terms added to the score while it was found. It is in the rank, but not in ``score``."""


NOTHING = Hypothesis((), 0.0, 0.0, (), False)
"""The translation of a source without subwords, for which nothing is computed."""
