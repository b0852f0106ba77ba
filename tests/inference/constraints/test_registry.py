"""A new decoding rule is one class and one line in the registry: here one is added from outside."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

from mtmoe.inference.constraints import registry
from mtmoe.inference.constraints.decoding_rule import (
    UNRESTRICTED,
    DecodingRule,
    PartialHypothesis,
    Restriction,
)
from mtmoe.inference.constraints.phrases import Phrases
from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.search.beam_search import search_all
from mtmoe.inference.search.search_constraints import SearchConstraints, SourceConstraints
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.vocabulary import BOS, EOS, NUM_SPECIAL, PAD, UNK

A, B = NUM_SPECIAL, NUM_SPECIAL + 1
SOURCES = [[5, 6, 7], [9], [4, 4, 8, 8, 5], [6, 5], [8, 9, 4, 4]]
OPTIONS = SearchOptions(
    beam_size=3, length_alpha=0.6, coverage_beta=0.1, prune_margin=9.0, max_length_ratio=2.0, max_length_extra=3
)


class BannedSuccessor(DecodingRule):
    """Bans B right after A."""

    @classmethod
    def for_search(cls, tasks, num_words_B, options):
        return cls()

    def restriction(self, hypothesis: PartialHypothesis) -> Restriction:
        return Restriction(banned=frozenset({B})) if hypothesis.ids[-1:] == (A,) else UNRESTRICTED


class BannedWord(DecodingRule):
    """Never produces B."""

    never_produced = frozenset({B})
    restricts_steps = False

    @classmethod
    def for_search(cls, tasks, num_words_B, options):
        return cls()


def pairs(ids):
    return set(itertools.pairwise(ids))


def translations(model, tasks=None, options=OPTIONS):
    return [found[0].ids for found in search_all(model, SOURCES, options, batch_tokens=1000, tasks=tasks)]


def greedy(model, source):
    """The likeliest word after each, without B behind A, by hand."""
    ids = ()
    while len(ids) < OPTIONS.max_length(len(source)):
        by_id = list(model.predict((*source, EOS), ids).log_probabilities)
        for symbol in (PAD, UNK, BOS):
            by_id[symbol] = -math.inf
        if ids[-1:] == (A,):
            by_id[B] = -math.inf
        best = by_id.index(max(by_id))
        if best == EOS:
            break
        ids = (*ids, best)
    return ids


def test_the_search_obeys_a_rule_that_is_registered(random_model):
    model = random_model(7, 3, eos_bonus=-4.0)
    free = translations(model)
    assert any((A, B) in pairs(ids) for ids in free)
    registry.DECODING_RULES.append(BannedSuccessor)
    try:
        ruled = translations(model)
        likeliest = translations(model, options=replace(OPTIONS, beam_size=1))
        required = translations(model, [SearchTask(phrases=Phrases.of_words([(A, B)]))] * len(SOURCES))
        prefixed = translations(model, [SearchTask(prefix_ids=(A, B))] * len(SOURCES))
    finally:
        registry.DECODING_RULES.remove(BannedSuccessor)
    assert not any((A, B) in pairs(ids) for ids in ruled)
    assert likeliest == [greedy(model, source) for source in SOURCES]
    assert all((A, B) in pairs(ids) for ids in required)  # what one rule proposes another does not ban
    assert all(ids[:2] == (A, B) for ids in prefixed)
    assert translations(model) == free


def test_a_word_that_is_never_produced_is_in_no_translation(random_model):
    model = random_model(1, 3, eos_bonus=-4.0)
    assert any(B in ids for ids in translations(model))
    registry.DECODING_RULES.append(BannedWord)
    try:
        assert not any(B in ids for ids in translations(model))
    finally:
        registry.DECODING_RULES.remove(BannedWord)


def test_rules_that_nothing_asks_for_are_not_asked():
    constraints = SearchConstraints(OPTIONS)
    assert constraints.not_words == slice(0, NUM_SPECIAL)
    constraints.enter(0, SourceConstraints(SearchTask(), 3, OPTIONS))
    assert not constraints.restricts_steps
    assert not constraints.tracks_copying
    constraints.enter(1, SourceConstraints(SearchTask(prefix_ids=(A,)), 3, OPTIONS))
    assert constraints.restricts_steps
    constraints.leave(1)
    assert not constraints.restricts_steps


def test_without_the_rule_of_unknown_words_only_the_end_is_no_word(monkeypatch):
    others = [rule for rule in registry.DECODING_RULES if rule.__name__ != "NeverUnknown"]
    monkeypatch.setattr("mtmoe.inference.search.search_constraints.DECODING_RULES", others)
    assert SearchConstraints(OPTIONS).not_words == [3]


def test_restrictions_join_as_their_docstring_says():
    banned, proposed = Restriction(banned=frozenset({A})), Restriction(frozenset({A}), optional=frozenset({B}))
    joined = banned.joined(proposed)
    assert (joined.banned, joined.proposed, joined.optional) == ({A}, {A}, {B})
    assert banned.joined(Restriction(optional=frozenset({A, B}))).optional == {B}
    only_b = Restriction(frozenset({B}), only_proposed=True, may_end=False)
    assert joined.joined(only_b) == only_b
    assert only_b.joined(joined) == only_b
    assert UNRESTRICTED.joined(banned) is banned
    assert banned.joined(UNRESTRICTED) is banned
