"""Search constraints: all decoding rules of a search, applied to its active hypotheses.

Letters: B sentences (sources), X active hypotheses.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from mtmoe.inference.constraints.decoding_rule import UNRESTRICTED, DecodingRule, PartialHypothesis, Restriction
from mtmoe.inference.constraints.phrases import Words
from mtmoe.inference.constraints.registry import DECODING_RULES
from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.constraints.soft_terms import Copying
from mtmoe.inference.search.active_hypotheses import ActiveHypotheses
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.vocabulary import EOS, NUM_SPECIAL


class SearchConstraints:
    """What decoding rules say of the translations of all sources."""

    def __init__(self, tasks: Sequence[SearchTask], num_words_B: Sequence[int], options: SearchOptions) -> None:
        """Build the rules that the tasks and the options ask for.

        Args:
            num_words_B: subwords of each source, EOS not counted.

        Raises:
            UserError: the options exclude what a task needs.
        """
        self.num_beams = options.num_beams
        built = [kind.for_search(tasks, num_words_B, options) for kind in DECODING_RULES]
        self._rules: list[DecodingRule] = [rule for rule in built if rule is not None]
        self._at_steps = [rule for rule in self._rules if rule.restricts_steps]
        self._needs_attention = any(rule.needs_attention for rule in self._at_steps)
        never = frozenset({EOS}).union(*(rule.never_produced for rule in self._rules))  # EOS is no word
        symbols = {word for word in never if word < NUM_SPECIAL}
        self.not_words = slice(0, NUM_SPECIAL) if len(symbols) == NUM_SPECIAL else sorted(symbols)
        """Special symbols that are no candidates at any step, as an index into the vocabulary."""
        self._always = Restriction(banned=never - symbols) if never - symbols else UNRESTRICTED
        self.restricts_steps = bool(self._at_steps) or self._always is not UNRESTRICTED
        sources = range(len(tasks))
        self.max_length_B = [self._max_length(source, options.max_length(num_words_B[source])) for source in sources]
        self.requires_text_B = np.array([self._requires_text(source) for source in sources], dtype=bool)

    def _max_length(self, source: int, max_length: int) -> int:
        for rule in self._rules:
            max_length = rule.max_length(source, max_length)
        return max_length

    def _requires_text(self, source: int) -> bool:
        return any(rule.requires_text(source) for rule in self._rules)

    @property
    def tracks_copying(self) -> bool:
        """Return whether active hypotheses carry the soft terms in the middle of which they may be."""
        return self._needs_attention

    def restrictions(
        self, active: ActiveHypotheses[Any], attention_XS: Tensor, is_last_X: np.ndarray
    ) -> list[Restriction]:
        """Return what may come after each hypothesis; an empty list where no rule has anything to say.

        Args:
            is_last_X: whether a hypothesis has its greatest length, so that nothing but EOS can come.
        """
        if not self.restricts_steps:
            return []
        attention = attention_XS.double().cpu().numpy() if self._needs_attention else None
        restrictions = []
        for row, (ids, beam, is_last) in enumerate(zip(active.ids_X, active.beam_X.tolist(), is_last_X, strict=True)):
            if is_last:
                restrictions.append(UNRESTRICTED)
                continue
            source = beam // self.num_beams
            if not any(rule.may_restrict(source, ids) for rule in self._at_steps):
                restrictions.append(self._always)
                continue
            hypothesis = PartialHypothesis(source, ids, self.max_length_B[source])
            if attention is not None:
                hypothesis = hypothesis._replace(attention_S=attention[row], copying=active.copying_X[row])
            restrictions.append(self.restriction(hypothesis))
        is_free = not self._needs_attention and all(restriction is UNRESTRICTED for restriction in restrictions)
        return [] if is_free else restrictions

    def restriction(self, hypothesis: PartialHypothesis) -> Restriction:
        """Return what all rules together allow after one hypothesis."""
        joint = self._always
        for rule in self._at_steps:
            joint = joint.joined(rule.restriction(hypothesis))
            if joint.only_proposed and not joint.may_end:
                break  # nothing that others say could change it
        return joint

    def num_missing(self, source: int, ids: Words) -> int:
        """Return how many words suffice to complete what the translation of a source must have."""
        return sum(rule.num_missing(source, ids) for rule in self._at_steps)

    def shortlist_words(self, source: int) -> list[int]:
        """Return the words that must be in the shortlist of a source."""
        return list(itertools.chain.from_iterable(rule.shortlist_words(source) for rule in self._rules))


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
