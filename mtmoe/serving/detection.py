"""Detection: which of the served languages a text is in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mtmoe.corpus_survey.language_identification import base_code, identify

_MOST_CHARACTERS = 2000
"""Of a text: more of them tell nothing more."""


class Detected(NamedTuple):
    """A language by its normal code, and how likely it is, 0 to 1, among the served ones."""

    language: str
    probability: float


def detect(text: str, served: Sequence[str]) -> list[Detected]:
    """Return the served languages that the text may be in, the likeliest first; one at least.

    The probabilities are those of all 139 languages that the identifier knows, divided by the sum over the served
    ones. Where a text tells nothing (no letters, or none of their languages), the first served language has 0.
    """
    probabilities = identify([text[:_MOST_CHARACTERS]]).probabilities
    shares = [(code, float(probabilities.get(base_code(code), 0.0))) for code in served]
    total = sum(share for _, share in shares)
    if total <= 0.0:
        return [Detected(served[0], 0.0)]
    likeliest = sorted(shares, key=lambda each: -each[1])
    return [Detected(code, share / total) for code, share in likeliest if share > 0.0]
