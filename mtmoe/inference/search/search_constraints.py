"""Search constraints: all decoding rules of the sources of a search, applied to its active hypotheses.

Each source has rules of its own, built before it enters: what they say does not depend on what else is searched.

Letters: B sentences (sources, by their places), X active hypotheses.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from mtmoe.inference.constraints.decoding_rule import UNRESTRICTED, DecodingRule, PartialHypothesis, Restriction
from mtmoe.inference.constraints.never_unknown import NeverUnknown
from mtmoe.inference.constraints.no_loops import NoLoops
from mtmoe.inference.constraints.phrases import Words
from mtmoe.inference.constraints.registry import DECODING_RULES
from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.constraints.soft_terms import Copying
from mtmoe.inference.search.active_hypotheses import ActiveHypotheses
from mtmoe.inference.search.places import with_room_for
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.vocabulary import EOS, NUM_SPECIAL

_ONLY_SOURCE = 0
"""The number that rules know a source by; each is the only one of its rules."""


class SourceConstraints:
    """What decoding rules say of the translation of one source."""

    def __init__(self, task: SearchTask, num_words: int, options: SearchOptions) -> None:
        """Build the rules that the task and the options ask for.

        Args:
            num_words: subwords of the source, EOS not counted.

        Raises:
            UserError: the options exclude what the task needs.
        """
        self._rules = _rules(task, num_words, options)
        self._at_steps = [rule for rule in self._rules if rule.restricts_steps]
        self.needs_attention = any(rule.needs_attention for rule in self._at_steps)
        """Whether its hypotheses carry the soft terms in the middle of which they may be."""
        never = frozenset().union(*(rule.never_produced for rule in self._rules))
        own = never - _symbols_never_produced(options)
        self.always = Restriction(banned=own) if own else UNRESTRICTED
        """What may come after any hypothesis."""
        self.restricts_steps = bool(self._at_steps) or self.always is not UNRESTRICTED
        self.max_length = options.max_length(num_words)
        for rule in self._rules:
            self.max_length = rule.max_length(_ONLY_SOURCE, self.max_length)
        self.requires_text = any(rule.requires_text(_ONLY_SOURCE) for rule in self._rules)

    @property
    def are_usual(self) -> bool:
        """Return whether nothing is asked but that the translation does not loop, and has no special symbols."""
        return all(type(rule) in (NoLoops, NeverUnknown) for rule in self._rules)

    def may_restrict(self, ids: Words) -> bool:
        """Return whether :meth:`restriction` may have more to say after ``ids`` than what is so always."""
        for rule in self._at_steps:  # noqa: SIM110 (at every step of every hypothesis, and `any` takes twice as long)
            if rule.may_restrict(_ONLY_SOURCE, ids):
                return True
        return False

    def restriction(self, hypothesis: PartialHypothesis) -> Restriction:
        """Return what all rules together allow after one hypothesis."""
        joint = self.always
        for rule in self._at_steps:
            joint = joint.joined(rule.restriction(hypothesis))
            if joint.only_proposed and not joint.may_end:
                break  # nothing that others say could change it
        return joint

    def num_missing(self, ids: Words) -> int:
        """Return how many words suffice to complete what the translation must have."""
        return sum(rule.num_missing(_ONLY_SOURCE, ids) for rule in self._at_steps)

    def shortlist_words(self) -> list[int]:
        """Return the words that must be in the shortlist of the source."""
        return list(itertools.chain.from_iterable(rule.shortlist_words(_ONLY_SOURCE) for rule in self._rules))


class SearchConstraints:
    """The constraints of the sources that are in a search, by their places in it."""

    def __init__(self, options: SearchOptions) -> None:
        """Begin without sources."""
        self.num_beams = options.num_beams
        symbols = _symbols_never_produced(options)
        self.not_words = slice(0, NUM_SPECIAL) if len(symbols) == NUM_SPECIAL else sorted(symbols)
        """Special symbols that are no candidates at any step, as an index into the vocabulary."""
        self.requires_text_B = np.zeros(0, dtype=bool)
        self._of_place: dict[int, SourceConstraints] = {}
        self._num_restricting = self._num_tracking = 0

    def enter(self, place: int, constraints: SourceConstraints) -> None:
        """Take in those of a source."""
        self.requires_text_B = with_room_for(self.requires_text_B, place)
        self.requires_text_B[place] = constraints.requires_text
        self._of_place[place] = constraints
        self._num_restricting += constraints.restricts_steps
        self._num_tracking += constraints.needs_attention

    def leave(self, place: int) -> None:
        """Forget those of a source."""
        constraints = self._of_place.pop(place)
        self._num_restricting -= constraints.restricts_steps
        self._num_tracking -= constraints.needs_attention

    def __getitem__(self, place: int) -> SourceConstraints:
        return self._of_place[place]

    @property
    def restricts_steps(self) -> bool:
        """Return whether any source has rules that are asked at steps, so that hypotheses carry their words."""
        return self._num_restricting > 0

    @property
    def tracks_copying(self) -> bool:
        """Return whether active hypotheses carry the soft terms in the middle of which they may be."""
        return self._num_tracking > 0

    def restrictions(
        self, active: ActiveHypotheses[Any], attention_XS: Tensor, is_last_X: np.ndarray
    ) -> list[Restriction]:
        """Return what may come after each hypothesis; an empty list where no rule has anything to say.

        Args:
            is_last_X: whether a hypothesis has its greatest length, so that nothing but EOS can come.
        """
        if not self.restricts_steps:
            return []
        attention = attention_XS.double().cpu().numpy() if self.tracks_copying else None
        restrictions = []
        for row, (ids, beam, is_last) in enumerate(
            zip(active.ids_X, active.beam_X.tolist(), is_last_X.tolist(), strict=True)
        ):
            if is_last:
                restrictions.append(UNRESTRICTED)
                continue
            constraints = self._of_place[beam // self.num_beams]
            if not constraints.may_restrict(ids):
                restrictions.append(constraints.always)
                continue
            hypothesis = PartialHypothesis(_ONLY_SOURCE, ids, constraints.max_length)
            if attention is not None:
                hypothesis = hypothesis._replace(attention_S=attention[row], copying=active.copying_X[row])
            restrictions.append(constraints.restriction(hypothesis))
        is_free = attention is None and all(restriction is UNRESTRICTED for restriction in restrictions)
        return [] if is_free else restrictions


def _rules(task: SearchTask, num_words: int, options: SearchOptions) -> list[DecodingRule]:
    built = (rule.for_search([task], [num_words], options) for rule in DECODING_RULES)
    return [rule for rule in built if rule is not None]


def _symbols_never_produced(options: SearchOptions) -> frozenset[int]:
    """Return the special symbols that are no words of a translation, whatever its task."""
    never = itertools.chain.from_iterable(rule.never_produced for rule in _rules(SearchTask(), 1, options))
    return frozenset([EOS, *(word for word in never if word < NUM_SPECIAL)])  # EOS is no word


def copying_after(
    restrictions: Sequence[Restriction], rows: np.ndarray, words_X: np.ndarray, log_probabilities_X: np.ndarray
) -> list[tuple[Copying, ...]]:
    """Return the soft terms in the middle of which the hypotheses that go on may be.

    Args:
        rows: of the hypotheses that they extend.
        log_probabilities_X: of the words, by the model alone.
    """
    chosen = zip(rows, words_X, log_probabilities_X, strict=True)
    return [
        () if (mixture := restrictions[row].mixture) is None else mixture.after(int(word), float(log_p))
        for row, word, log_p in chosen
    ]
