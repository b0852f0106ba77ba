"""Phrases as whole words: where they are, and searches for them against trying everything."""

from __future__ import annotations

import itertools
import random
import re
from dataclasses import replace

import pytest

from mtmoe.inference.constraints.phrases import Phrases, PieceTexts, is_of_word, occurs, written
from mtmoe.inference.constraints.placeholders import Placeholder, Placeholders
from mtmoe.inference.constraints.required_text import longest_for
from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.search.beam_search import search_all
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.inference.text.spelling import Spellings
from mtmoe.vocabulary import EOS, NUM_SPECIAL

SPECIAL = ["<pad>", "<unk>", "<s>", "</s>"]
OPEN = SearchOptions(
    beam_size=3000,
    length_alpha=0.4,
    coverage_beta=0.0,
    prune_margin=1e9,
    max_length_ratio=1.0,
    max_length_extra=1,
    num_best=3,
)
"""A beam that holds everything, and no pruning."""


def is_there(phrase: str, text: str, whole: bool) -> bool:
    """By a regular expression, in the text as it would be printed."""
    text = " ".join(text.split())
    if not whole:
        return phrase in text
    begin, end = (r"(?<!\w)" if is_of_word(phrase[0]) else "", r"(?!\w)" if is_of_word(phrase[-1]) else "")
    return re.search(begin + re.escape(phrase) + end, text) is not None


@pytest.mark.parametrize(
    ("ids", "there"),
    [
        (["▁", "a", "b"], True),
        (["▁ab"], True),
        (["▁ab", "a"], False),
        (["▁ab", "'"], True),
        (["▁ab", "▁"], True),
        (["a", "'", "ab"], True),
        (["a", "ab"], False),
        (["▁ab", "a", "-", "a", "b"], True),
        (["▁ab", "\u0302"], False),
        (["▁ab", "<0xE2>"], False),  # the beginning of a letter, as far as one can see
        (["▁ab", "<0x2E>"], True),
        (["▁ab", "’a"], True),
        (["▁Ab"], False),
    ],
)
def test_a_phrase_is_there_where_its_words_begin_and_end(ids, there):
    pieces = ["▁", "a", "b", "▁ab", "ab", "'", "-", "\u0302", "<0xE2>", "<0x2E>", "’a", "▁Ab"]
    texts = PieceTexts([*SPECIAL, *pieces])
    phrases = Phrases([written((NUM_SPECIAL + 3,), texts)], texts, whole=True)
    assert phrases.is_there(phrases.after(tuple(NUM_SPECIAL + pieces.index(piece) for piece in ids))) == there


def test_soft_terms_are_there_unless_the_word_goes_on():
    assert occurs((4, 5), (3, 4, 5, 6))
    assert occurs((4, 5), (4, 5), frozenset({6}))
    assert not occurs((4, 5), (3, 4, 5, 6), frozenset({6}))
    assert occurs((4, 5), (4, 5, 6, 4, 5, 7), frozenset({6}))


VOCABULARIES = [["▁a", "a", "▁b", "b"], ["▁a", "b", "▁", "'"], ["▁", "a", "'a", "▁ab"], ["▁a", "a'", "b", "▁b'"]]
WANTED = [
    ["a"],
    ["ab"],
    ["a", "b"],
    ["a", "a"],
    ["aa", "a"],
    ["a b", "b a"],
    ["a'b", "b"],
    ["b", "ab"],
    ["a a"],
    ["a'"],
]


def cases():
    """Small searches of all kinds, the same at each run: vocabulary, phrases, prefix, whole, room."""
    generator = random.Random(4)
    for pieces, wanted, whole in itertools.product(VOCABULARIES, WANTED, (True, False)):
        texts = PieceTexts([*SPECIAL, *pieces])
        ids = [texts.spelt(f" {text}") for text in wanted]
        if all(ids):
            for prefix in ((), (NUM_SPECIAL + generator.randrange(4),)):
                yield pieces, wanted, prefix, whole, generator.randrange(2)


CASES = list(cases())


def exhaustively(model, source, options, longest, is_right):
    """The best translations of at most ``longest`` words that are right."""
    found = []
    for length in range(longest + 1):
        for ids in itertools.product(range(NUM_SPECIAL, model.vocabulary_size), repeat=length):
            if is_right(ids):
                steps = (model.predict((*source, EOS), ids[:n]).log_probabilities for n in range(length + 1))
                log_p = sum(scores[token] for scores, token in zip(steps, (*ids, EOS), strict=True))
                found.append((log_p / ((6 + length) / 6) ** options.length_alpha, ids))
    return [ids for _, ids in sorted(found, reverse=True)[: options.num_best]]


def task_of(pieces, wanted, prefix, whole, number=0):
    texts = PieceTexts([*SPECIAL, *pieces])
    phrases = [written(texts.spelt(f" {text}"), texts) for text in wanted]
    return SearchTask(prefix, Phrases(phrases, texts, whole=whole), number)


def test_a_beam_that_holds_everything_finds_the_best_that_has_all_phrases_as_words_however_little_room_there_is(
    random_model,
):
    tight = 0
    for number, (pieces, wanted, prefix, whole, spare) in enumerate(CASES):
        task, model = task_of(pieces, wanted, prefix, whole), random_model(number, 4, eos_bonus=1.0)
        options = replace(OPEN, max_length_ratio=0.001, max_length_extra=1 + spare)
        longest = longest_for(task, options.max_length(1))
        if longest > 5:
            continue
        text_of = task.phrases._texts.text

        def is_right(ids, wanted=wanted, prefix=prefix, whole=whole, text_of=text_of):
            return ids[: len(prefix)] == prefix and all(is_there(text, text_of(ids), whole) for text in wanted)

        expected = exhaustively(model, [5], options, longest, is_right)
        shorter = exhaustively(model, [5], replace(options, num_best=1), longest - 1, is_right)
        assert expected  # the greatest length has room for it all
        if longest > options.max_length(1):
            assert not shorter  # and is no longer than need be
        tight += longest < task.phrases.room + len(prefix) + 2
        (found,) = search_all(model, [[5]], options, batch_tokens=100_000, tasks=[task])
        assert [hypothesis.ids for hypothesis in found] == expected, (pieces, wanted, prefix, whole, longest)
    assert tight > 30


@pytest.mark.parametrize("prefix", [(), (NUM_SPECIAL,)])
@pytest.mark.parametrize(
    ("wanted", "placed"), [(["a"], ["{"]), (["a", "a a"], ["{"]), (["a"], ["{", "{"]), ([], ["{"])]
)
def test_phrases_placeholders_and_a_prefix_at_once_are_the_best_that_have_them_all(
    random_model, prefix, wanted, placed
):
    pieces = ["▁a", "a", "{", "▁"]
    spellings = Spellings([*SPECIAL, *pieces])
    task = task_of(pieces, wanted, prefix, True)._replace(
        placeholders=Placeholders([Placeholder(one, is_joined=True) for one in placed], spellings)
    )
    longest = longest_for(task, 1)
    assert longest <= 6

    def is_right(ids):
        text = spellings.text(ids).decode()
        has_placeholders = text.count("{") == len(placed) and "{a" not in text  # nothing goes on with a placeholder
        return ids[: len(prefix)] == prefix and has_placeholders and all(is_there(one, text, True) for one in wanted)

    for seed in range(3):
        model = random_model(seed, 4, eos_bonus=1.0)
        options = replace(OPEN, max_length_ratio=0.001, max_length_extra=1)
        (found,) = search_all(model, [[5]], options, batch_tokens=100_000, tasks=[task])
        assert [hypothesis.ids for hypothesis in found] == exhaustively(model, [5], options, longest, is_right)
