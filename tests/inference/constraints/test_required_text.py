"""What may come next, by hand and by trying every way to go on."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mtmoe.inference.constraints.no_repeat_ngram import repeating_words
from mtmoe.inference.constraints.phrases import Phrases
from mtmoe.inference.constraints.required_text import room_for
from mtmoe.inference.constraints.search_task import SearchTask
from tests.inference.constraints.restrictions import restriction_after

A, B, C, D = 4, 5, 6, 7


def num_missing(ids, phrases):
    found = Phrases.of_words(phrases)
    return found.num_missing(found.after(tuple(ids)))


def least_missing(ids, phrases):
    """The same with overlaps, by trying everything."""
    num_words = 0
    while not any(
        all(occurs(phrase, (*ids, *more)) for phrase in phrases)
        for more in itertools.product((A, B, C, D), repeat=num_words)
    ):
        num_words += 1
    return num_words


def occurs(phrase, ids):
    return any(tuple(ids[at : at + len(phrase)]) == phrase for at in range(len(ids)))


@pytest.mark.parametrize(
    ("ids", "size", "words"),
    [
        ((), 2, set()),
        ((A, B, A), 0, set()),
        ((A, B, A), 1, {A, B}),
        ((A, B, A), 2, {B}),
        ((A, B, C, A, B), 3, {C}),
        ((A, A), 2, {A}),
        ((A, A, B), 3, set()),
        ((A, B, A, C, A), 2, {B, C}),
    ],
)
def test_the_words_that_would_repeat_a_sequence(ids, size, words):
    assert repeating_words(ids, size) == words
    if size:  # by trying every word
        sequences = [ids[at : at + size] for at in range(len(ids) - size + 1)]
        assert {w for w in (A, B, C, D) if len(ids) >= size - 1 and (*ids, w)[-size:] in sequences} == words


def test_missing_words_are_those_of_all_open_phrases_without_the_longest_beginning():
    phrases = ((A, B, C), (C, D))
    assert [num_missing(ids, phrases) for ids in ((), (A,), (A, B), (A, B, C), (A, B, C, D))] == [5, 4, 3, 1, 0]
    assert num_missing((A, B, A), phrases) == 4
    assert num_missing((A, A, B), ((A, A, B),)) == 0
    assert num_missing((A, A, A, B), ((A, A, B),)) == 0  # the beginning is that of the end, not of the first match
    assert Phrases.of_words([(A, A, B), (C,)]).advancing((A, A, A)) == {B, C}


def test_a_prefix_leaves_one_word_and_no_end():
    task = SearchTask(prefix_ids=(A, B))
    rule = restriction_after((A,), task, min_length=0, max_length=9, no_repeat_ngram=1)
    assert (rule.proposed, rule.only_proposed, rule.may_end) == ({B}, True, False)
    after = restriction_after((A, B), task, min_length=3, max_length=9, no_repeat_ngram=1)
    assert (after.proposed, after.only_proposed, after.banned, after.may_end) == (set(), False, {A, B}, False)


words = st.integers(A, D)
phrase = st.lists(words, min_size=1, max_size=3).map(tuple)


@settings(max_examples=150, deadline=None)
@given(st.lists(words, max_size=2).map(tuple), st.lists(phrase, max_size=2).map(tuple), st.integers(0, 2), st.data())
def test_whoever_keeps_to_the_rules_ends_with_everything_that_was_asked_for(prefix, phrases, spare, data):
    task = SearchTask(prefix, Phrases.of_words(phrases))
    max_length = max(room_for(task) + spare, 1)
    ids: tuple[int, ...] = ()
    while len(ids) < max_length:
        rule = restriction_after(ids, task, min_length=2, max_length=max_length, no_repeat_ngram=0)
        choices = sorted(rule.proposed if rule.only_proposed else (set(range(A, D + 1)) - rule.banned) | rule.proposed)
        assert choices
        if rule.may_end:
            assert len(ids) >= 2
            break
        ids = (*ids, data.draw(st.sampled_from(choices)))
    assert ids[: len(prefix)] == prefix
    assert all(occurs(phrase, ids) for phrase in phrases)


@settings(max_examples=60, deadline=None)
@given(st.lists(phrase, min_size=1, max_size=2).map(tuple), st.lists(words, max_size=3).map(tuple), st.integers(1, 4))
@example(((A, B),), (A,), 2)  # the phrase may begin anew
@example(((A, B, C), (C, D)), (), 4)  # they overlap
@example(((A, B), (A, B)), (A,), 1)  # twice the same is once enough
def test_a_word_is_forbidden_just_where_it_leaves_no_room_for_the_phrases(phrases, ids, room):
    task, max_length = SearchTask(phrases=Phrases.of_words(phrases)), len(ids) + room
    if least_missing(ids, phrases) > room:
        return  # a search that keeps to the rules never comes here
    rule = restriction_after(ids, task, min_length=0, max_length=max_length, no_repeat_ngram=0)
    for word in range(A, D + 1):
        is_forbidden = word not in rule.proposed and (rule.only_proposed or word in rule.banned)
        assert is_forbidden == (least_missing((*ids, word), phrases) > room - 1)
