"""Unknown words: UNK is never produced, nor are PAD and BOS.

Their probability is not given to the others: log-probabilities are those of the model.
"""

from __future__ import annotations

from collections.abc import Sequence

from mtmoe.inference.constraints.decoding_rule import DecodingRule
from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.vocabulary import BOS, PAD, UNK


class NeverUnknown(DecodingRule):
    """Keeps the special symbols out of every translation. (EOS ends one; it is a candidate of its own.)"""

    never_produced = frozenset({PAD, UNK, BOS})
    restricts_steps = False

    @classmethod
    def for_search(
        cls, tasks: Sequence[SearchTask], num_words_B: Sequence[int], options: SearchOptions
    ) -> NeverUnknown:
        """Build the rule, which every search has."""
        return cls()
