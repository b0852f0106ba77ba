"""Decoding rule: the interface of everything that constrains the words of a translation.

A new rule is a subclass of :class:`DecodingRule` in a file of its own, and its name in
:data:`mtmoe.inference.constraints.registry.DECODING_RULES`. Nothing else of the search has to change.

A rule is a function of the words of a hypothesis, so that nothing has to be reordered with the beam. A rule that no
option and no source asks for is not built (:meth:`DecodingRule.for_search` returns None) and costs nothing at a step.

Letters: B sentences (sources), S source positions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from mtmoe.inference.constraints.phrases import Words
from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.constraints.soft_terms import Copying, Mixture
from mtmoe.inference.search.search_options import SearchOptions


class PartialHypothesis(NamedTuple):
    """An unfinished hypothesis as a decoding rule sees it.

    source: its number in the search. ids: its words so far. max_length: of the translation, EOS not counted; at that
    length no rule is asked, for nothing but EOS can come. attention_S: of the decoder at this step, float64, if
    a rule of the search has ``needs_attention``. copying: the soft terms in the middle of which it may be.
    """

    source: int
    ids: Words
    max_length: int
    attention_S: np.ndarray | None = None
    copying: tuple[Copying, ...] = ()


class Restriction(NamedTuple):
    """What may come next after one hypothesis.

    proposed: words that are candidates whatever their probability. only_proposed: no other word is a candidate.
    banned: words that are no candidates unless a rule proposes them; their probability is not given to others.
    may_end: whether EOS is a candidate. optional: words that are candidates if they are likely enough, though they may
    not be among the model's likeliest. mixture: changes the probabilities of the candidates.
    """

    proposed: frozenset[int] = frozenset()
    only_proposed: bool = False
    banned: frozenset[int] = frozenset()
    may_end: bool = True
    optional: frozenset[int] = frozenset()
    mixture: Mixture | None = None

    @property
    def further_words(self) -> list[int]:
        """Return the words that are candidates besides the model's likeliest, ascending."""
        return sorted(self.proposed | self.optional) if self.proposed or self.optional else []

    def joined(self, other: Restriction) -> Restriction:
        """Return what both say. What one proposes the other cannot ban; where both leave only what they propose, the
        first of them decides."""
        if other is UNRESTRICTED:
            return self
        if self is UNRESTRICTED:
            return other
        may_end, mixture = self.may_end and other.may_end, self.mixture or other.mixture
        if self.only_proposed or other.only_proposed:
            proposed = self.proposed if self.only_proposed else other.proposed
            return Restriction(proposed, only_proposed=True, may_end=may_end, mixture=mixture)
        proposed, banned = self.proposed | other.proposed, self.banned | other.banned
        optional = (self.optional | other.optional) - proposed - banned
        return Restriction(proposed, banned=banned, may_end=may_end, optional=optional, mixture=mixture)


UNRESTRICTED = Restriction()


class DecodingRule(ABC):
    """One kind of constraint on the translations of all sources of one search."""

    needs_attention: ClassVar[bool] = False
    """Whether :meth:`restriction` reads the attention, which takes a transfer from the device at each step."""
    never_produced: ClassVar[frozenset[int]] = frozenset()
    """Words that no translation ever has, whatever comes before."""
    restricts_steps: ClassVar[bool] = True
    """Whether :meth:`restriction` has anything to say; else no step asks."""

    @classmethod
    @abstractmethod
    def for_search(
        cls, tasks: Sequence[SearchTask], num_words_B: Sequence[int], options: SearchOptions
    ) -> DecodingRule | None:
        """Build the rule for a search; None where nothing asks for it.

        Args:
            tasks: one for each source.
            num_words_B: subwords of each source, EOS not counted.

        Raises:
            UserError: the options exclude what a task needs.
        """

    def may_restrict(self, source: int, ids: Words) -> bool:
        """Return whether :meth:`restriction` may have anything to say after ``ids``; asked first."""
        return True

    def restriction(self, hypothesis: PartialHypothesis) -> Restriction:
        """Return what may come after a hypothesis."""
        return UNRESTRICTED

    def max_length(self, source: int, max_length: int) -> int:
        """Return the greatest length of a translation that leaves room for what is required: ``max_length`` or more."""
        return max_length

    def shortlist_words(self, source: int) -> Iterable[int]:
        """Return words that must be in the shortlist of a source, so that they have a probability."""
        return ()

    def requires_text(self, source: int) -> bool:
        """Return whether translations of a source need something that the model would not write by itself. Its
        hypotheses then share the beam by :meth:`num_missing` (`search/selection/beam_allocation.py`)."""
        return False

    def num_missing(self, source: int, ids: Words) -> int:
        """Return how many words suffice to complete what is required; 0 once it is all there."""
        return 0
