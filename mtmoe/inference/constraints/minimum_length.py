"""Minimum length: no end of sentence before a translation has so many subwords (``decoding.min_length_ratio``)."""

from __future__ import annotations

from collections.abc import Sequence

from mtmoe.inference.constraints.decoding_rule import UNRESTRICTED, DecodingRule, PartialHypothesis, Restriction
from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.search.search_options import SearchOptions

_NO_END = Restriction(may_end=False)


class MinimumLength(DecodingRule):
    """Forbids EOS while a hypothesis is short."""

    def __init__(self, min_length_B: Sequence[int]) -> None:
        """Keep the least number of subwords of each translation, EOS not counted."""
        self._min_length_B = min_length_B

    @classmethod
    def for_search(
        cls, tasks: Sequence[SearchTask], num_words_B: Sequence[int], options: SearchOptions
    ) -> MinimumLength | None:
        """Build the rule; None where the options have no least length."""
        return cls([options.min_length(number) for number in num_words_B]) if options.min_length_ratio else None

    def restriction(self, hypothesis: PartialHypothesis) -> Restriction:
        """Return that the translation may not end yet, while it is short."""
        return _NO_END if len(hypothesis.ids) < self._min_length_B[hypothesis.source] else UNRESTRICTED
