"""Soft terminology as a decoding rule: terms that a translation may copy where the model attends to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mtmoe.inference.constraints.decoding_rule import UNRESTRICTED, DecodingRule, PartialHypothesis, Restriction
from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.constraints.soft_terms import mixture_after
from mtmoe.inference.search.search_options import SearchOptions


class SoftTermsRule(DecodingRule):
    """Offers the words that may be copied, and mixes their probabilities into the model's (`soft_terms.py`)."""

    needs_attention = True

    def __init__(self, tasks: Sequence[SearchTask], share: float) -> None:
        """Keep the terms of each source.

        ``share``: how likely a term is copied where all of the attention is on it, between 0 and 1.
        """
        self._terms_B = [task.soft_terms for task in tasks]
        self._share = share

    @classmethod
    def for_search(
        cls, tasks: Sequence[SearchTask], num_words_B: Sequence[int], options: SearchOptions
    ) -> SoftTermsRule | None:
        """Build the rule; None where no task has soft terms.

        Raises:
            ValueError: words are drawn, or the options do not say how likely terms are.
        """
        if not any(task.soft_terms for task in tasks):
            return None
        if options.sampling or options.soft_terms is None:
            raise ValueError("soft terms need a search, and options that say how likely they are")
        return cls(tasks, options.soft_terms)

    def restriction(self, hypothesis: PartialHypothesis) -> Restriction:
        """Return the words that may be copied, and the mixture of their probabilities with the model's."""
        terms = self._terms_B[hypothesis.source]
        if not terms:
            return UNRESTRICTED
        assert hypothesis.attention_S is not None
        mixture = mixture_after(hypothesis.ids, hypothesis.copying, terms, hypothesis.attention_S, self._share)
        return UNRESTRICTED if mixture is None else Restriction(optional=frozenset(mixture.copied()), mixture=mixture)

    def shortlist_words(self, source: int) -> Iterable[int]:
        """Return the words of the terms of a source."""
        return (word for term in self._terms_B[source] for word in term.ids)
