"""What all decoding rules together allow after a hypothesis, for tests."""

from __future__ import annotations

from mtmoe.inference.constraints.decoding_rule import PartialHypothesis, Restriction
from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.search.search_constraints import SourceConstraints
from mtmoe.inference.search.search_options import SearchOptions


def restriction_after(
    ids: tuple[int, ...], task: SearchTask, *, min_length: int = 0, max_length: int, no_repeat_ngram: int = 0
) -> Restriction:
    """Return what may follow ``ids`` in the translation of one source of one subword."""
    options = SearchOptions(
        beam_size=1,
        length_alpha=0.0,
        coverage_beta=0.0,
        prune_margin=1e9,
        max_length_ratio=float(max(max_length, min_length)),
        max_length_extra=0,
        min_length_ratio=float(min_length),
        no_repeat_ngram=no_repeat_ngram,
    )
    return SourceConstraints(task, 1, options).restriction(PartialHypothesis(0, ids, max_length))
