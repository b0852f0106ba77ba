"""Search task: what the translation of one source must have, by the subwords of the model."""

from __future__ import annotations

from typing import NamedTuple

from mtmoe.inference.constraints.phrases import NO_PHRASES, Phrases
from mtmoe.inference.constraints.placeholders import Placeholders
from mtmoe.inference.constraints.soft_terms import SoftTerm
from mtmoe.inference.text.subword_repetition import Repetition


class SearchTask(NamedTuple):
    """Constraints on the translation of one source; by default none. Ids are subwords without special symbols.

    prefix_ids: how it must begin. phrases: lexical constraints, which must occur in it somewhere. number: of the
    source in all of the input; with the seed it decides which sample is drawn. placeholders: texts that it must have
    just as the source has them. soft_terms: what it may copy where the model attends to it. repetition: how often a
    phrase may stand in a row; None: as often as the model likes.
    """

    prefix_ids: tuple[int, ...] = ()
    phrases: Phrases = NO_PHRASES
    number: int = 0
    placeholders: Placeholders | None = None
    soft_terms: tuple[SoftTerm, ...] = ()
    repetition: Repetition | None = None

    @property
    def has_required_text(self) -> bool:
        """Return whether any phrase or placeholder must occur in the translation."""
        return bool(len(self.phrases) or self.placeholders)
