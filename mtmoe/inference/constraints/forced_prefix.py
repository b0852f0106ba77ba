"""Forced prefix: a translation that must begin with given words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mtmoe.inference.constraints.decoding_rule import UNRESTRICTED, DecodingRule, PartialHypothesis, Restriction
from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.search.search_options import SearchOptions


class ForcedPrefix(DecodingRule):
    """Leaves the next word of the prefix as the only candidate, until the prefix is there."""

    def __init__(self, tasks: Sequence[SearchTask]) -> None:
        """Keep the prefix of each source."""
        self._prefix_B = [task.prefix_ids for task in tasks]

    @classmethod
    def for_search(
        cls, tasks: Sequence[SearchTask], num_words_B: Sequence[int], options: SearchOptions
    ) -> ForcedPrefix | None:
        """Build the rule; None where no task has a prefix."""
        return cls(tasks) if any(task.prefix_ids for task in tasks) else None

    def restriction(self, hypothesis: PartialHypothesis) -> Restriction:
        """Return the next word of the prefix as the only candidate, while there is one."""
        prefix, place = self._prefix_B[hypothesis.source], len(hypothesis.ids)
        if place >= len(prefix):
            return UNRESTRICTED
        return Restriction(frozenset({prefix[place]}), only_proposed=True, may_end=False)

    def max_length(self, source: int, max_length: int) -> int:
        """Return ``max_length``, or the length of the prefix if that is more."""
        return max(max_length, len(self._prefix_B[source]))

    def shortlist_words(self, source: int) -> Iterable[int]:
        """Return the words of the prefix."""
        return self._prefix_B[source]
