"""No-repeat n-gram: no sequence of n subwords comes twice in a translation (``decoding.no_repeat_ngram``)."""

from __future__ import annotations

from collections.abc import Sequence

from mtmoe.inference.constraints.decoding_rule import UNRESTRICTED, DecodingRule, PartialHypothesis, Restriction
from mtmoe.inference.constraints.phrases import Words
from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.search.search_options import SearchOptions


class NoRepeatNgram(DecodingRule):
    """Bans the words that would complete an n-gram once more."""

    def __init__(self, size: int) -> None:
        """Keep the ``size``: the n of the n-grams."""
        self._size = size

    @classmethod
    def for_search(
        cls, tasks: Sequence[SearchTask], num_words_B: Sequence[int], options: SearchOptions
    ) -> NoRepeatNgram | None:
        """Build the rule; None where the options allow repetitions."""
        return cls(options.no_repeat_ngram) if options.no_repeat_ngram else None

    def restriction(self, hypothesis: PartialHypothesis) -> Restriction:
        """Return the words that would repeat an n-gram as banned."""
        banned = repeating_words(hypothesis.ids, self._size)
        return Restriction(banned=banned) if banned else UNRESTRICTED


def repeating_words(ids: Words, size: int) -> frozenset[int]:
    """Return the words that would end a sequence of ``size`` words which ``ids`` already contains; none if it is 0."""
    if not size or len(ids) < size:
        return frozenset()
    last = ids[len(ids) - size + 1 :]
    return frozenset(ids[end] for end in range(size - 1, len(ids)) if ids[end - size + 1 : end] == last)
