"""No loops: a phrase does not stand behind itself more often than is plausible (``decoding.no_loops``)."""

from __future__ import annotations

from collections.abc import Sequence

from mtmoe.inference.constraints.decoding_rule import UNRESTRICTED, DecodingRule, PartialHypothesis, Restriction
from mtmoe.inference.constraints.phrases import Words
from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.inference.text.subword_repetition import Repetition


class NoLoops(DecodingRule):
    """Bans the words that would complete a loop (:mod:`mtmoe.data.repetition`)."""

    def __init__(self, repetition_B: Sequence[Repetition | None]) -> None:
        """Keep what each source allows; None where nothing is forbidden."""
        self._repetition_B = repetition_B

    @classmethod
    def for_search(
        cls, tasks: Sequence[SearchTask], num_words_B: Sequence[int], options: SearchOptions
    ) -> NoLoops | None:
        """Build the rule; None where no task asks for it."""
        found = [task.repetition for task in tasks]
        return cls(found) if any(found) else None

    def may_restrict(self, source: int, ids: Words) -> bool:
        """Return whether anything is repeated at all."""
        repetition = self._repetition_B[source]
        return repetition is not None and repetition.may_loop(ids)

    def restriction(self, hypothesis: PartialHypothesis) -> Restriction:
        """Return the words that would repeat a phrase once too often as banned."""
        repetition = self._repetition_B[hypothesis.source]
        banned = repetition.looping_words(hypothesis.ids) if repetition else None
        return Restriction(banned=banned) if banned else UNRESTRICTED
