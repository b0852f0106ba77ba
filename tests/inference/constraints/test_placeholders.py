"""Placeholders of the source: by hand, and by trying to do without them."""

from __future__ import annotations

import random
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtmoe.config.placeholder_patterns import PATTERNS, placeholder_pattern
from mtmoe.inference.constraints.phrases import Phrases
from mtmoe.inference.constraints.placeholders import Placeholder, Placeholders, can_be_spelt
from mtmoe.inference.constraints.required_text import room_for
from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.text.spelling import Spellings
from tests.inference.constraints.restrictions import restriction_after

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
WORDS = [
    "▁",
    "▁a",
    "a",
    "b",
    "▁b",
    "{",
    "{a",
    "a}",
    "}",
    "▁{a}",
    "}.",
    "1",
    "▁1",
    "▁10",
    "0",
    "<",
    "b>",
    "▁<b>",
    "<b>a",
]
PIECES = ["<pad>", "<unk>", "<s>", "</s>", *BYTES, *WORDS]
SPELLINGS = Spellings(PIECES)
WORD_IDS = range(4 + len(BYTES), len(PIECES))
TEXTS = ["{a}", "<b>", "1", "10", "é1"]


def ids_of(*pieces: str) -> tuple[int, ...]:
    return tuple(PIECES.index(piece) for piece in pieces)


def occurrences(text: str) -> list[str]:
    """Of all texts, where they are no part of a longer word, in their order."""
    one = "|".join(sorted((re.escape(wanted) for wanted in TEXTS), key=len, reverse=True))
    return [match[0] for match in re.finditer(one, text) if apart(text, match)]


def apart(text: str, match: re.Match[str]) -> bool:
    text = text.replace("\ufffd", "x")  # bytes that are no character are taken for letters
    around = text[: match.start()][-1:] + match[0][:1], match[0][-1:] + text[match.end() :][:1]
    return not any(len(pair) == 2 and pair.isalnum() for pair in around)


def test_bytes_and_subwords_are_spelt_as_the_text_that_they_are():
    assert SPELLINGS.text(ids_of("▁a", "<0xC3>", "<0xA9>", "}.")) == " aé}.".encode()
    assert SPELLINGS.spelt(" a{a}é".encode()) == list(ids_of("▁a", "{a", "}", "<0xC3>", "<0xA9>"))
    assert {PIECES[i] for i in SPELLINGS.beginning_with(b"{")} == {"{", "{a", "<0x7B>"}
    assert {PIECES[i] for i in SPELLINGS.containing(b"a}")} == {"a}", "▁{a}"}


def test_the_next_copy_is_allowed_and_others_are_not():
    placeholders = Placeholders([Placeholder("{a}"), Placeholder("<b>")], SPELLINGS)
    first = placeholders.demand(ids_of("▁a"))
    assert first.allowed == set(ids_of("▁{a}"))
    assert set(ids_of("▁<b>", "<b>a")) <= first.banned  # it is not its turn
    begun = placeholders.demand(ids_of("▁a", "{"))
    assert begun.allowed == set(ids_of("a}"))
    second = placeholders.demand(ids_of("▁{a}"))
    assert set(ids_of("▁{a}")) <= second.banned  # once is enough
    assert set(ids_of("a", "b")) <= second.banned  # nothing is written to its end that the source does not have there
    assert set(ids_of("a}", "}", "}.")) <= placeholders.demand(ids_of("▁{a}", "▁", "{a")).banned | set(ids_of("a}"))
    assert placeholders.demand(ids_of("▁{a}", "▁<b>")).num_missing == 0


def test_a_copy_is_joined_to_what_is_before_it_only_where_the_source_does_so():
    apart, joined = (Placeholders([Placeholder("{a}", is_joined)], SPELLINGS) for is_joined in (False, True))
    assert ids_of("{a")[0] not in apart.demand(ids_of("▁a")).allowed
    assert ids_of("{a")[0] in joined.demand(ids_of("▁a")).allowed


def test_a_number_in_a_longer_number_is_another_one():
    placeholders = Placeholders([Placeholder("1"), Placeholder("10")], SPELLINGS)
    assert placeholders.num_missing(ids_of("▁10")) == placeholders.num_missing(())
    lengths = [placeholders.num_missing(ids) for ids in ((), ids_of("▁1"), ids_of("▁1", "▁"), ids_of("▁1", "▁10"))]
    assert lengths == [2, 1, 2, 0]  # behind a lone space it is 1 and 0, for there is no 10


def test_a_copy_that_begins_like_another_one_is_not_left_at_that():
    placeholders = Placeholders([Placeholder("10"), Placeholder("1")], SPELLINGS)
    (space_one,) = (i for i in WORD_IDS if SPELLINGS.bytes_of[i] == b" 1")
    demand = placeholders.demand((space_one,))
    assert all(SPELLINGS.bytes_of[i][:1].isalnum() for i in set(WORD_IDS) - demand.banned)
    assert demand.forced not in demand.banned


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(TEXTS), st.booleans(), st.booleans()), min_size=1, max_size=3),
    st.sampled_from([(), ids_of("▁b", "b"), ids_of("b", "0")]),
    st.integers(0, 6),
    st.data(),
)
def test_whoever_keeps_to_the_rules_ends_with_each_placeholder_once_and_in_order(placed, phrase, spare, data):
    placeholders = Placeholders([Placeholder(*part) for part in placed], SPELLINGS)
    task = SearchTask(phrases=Phrases.of_words([phrase] if phrase else []), placeholders=placeholders)
    max_length = room_for(task) + spare
    ids: tuple[int, ...] = ()
    while len(ids) < max_length:
        # What it remembers of shorter hypotheses changes nothing.
        if len(ids) % 4 == 3:
            anew = Placeholders([Placeholder(*part) for part in placed], SPELLINGS)
            assert (anew.demand(ids), anew.needed(ids)) == (placeholders.demand(ids), placeholders.needed(ids))
        rule = restriction_after(ids, task, min_length=1, max_length=max_length, no_repeat_ngram=0)
        choices = rule.proposed if rule.only_proposed else (set(WORD_IDS) - rule.banned) | rule.proposed
        assert choices
        if rule.may_end and data.draw(st.booleans()):
            break
        ids = (*ids, data.draw(st.sampled_from(sorted(choices))))
    assert placeholders.num_missing(ids) == 0
    wanted = [text for text, *_ in placed]
    found = occurrences(SPELLINGS.text(ids).decode(errors="replace"))
    assert [one for one in found if one in wanted] == wanted


@pytest.mark.parametrize("is_joined", [True, False])
@pytest.mark.parametrize("text", ["{a}", "10"])
def test_very_many_placeholders_have_a_word_that_fits_at_every_step(is_joined, text):
    placeholders = Placeholders([Placeholder(text, is_joined)] * 60, SPELLINGS)
    task = SearchTask(placeholders=placeholders)
    draw = random.Random(1)
    for spare in (0, 3):
        ids: tuple[int, ...] = ()
        while placeholders.num_missing(ids):
            rule = restriction_after(ids, task, min_length=0, max_length=room_for(task) + spare, no_repeat_ngram=0)
            choices = sorted(rule.proposed if rule.only_proposed else (set(WORD_IDS) - rule.banned) | rule.proposed)
            ids = (*ids, draw.choice(choices))
        assert len(ids) <= room_for(task) + spare


def seconds_of_steps(num_placeholders: int) -> float:
    """Of the processor, for a hundred steps behind 400 words with 20 of the placeholders."""
    wanted = [Placeholder(f"{number}") for number in range(1000, 1000 + num_placeholders)]
    placeholders = Placeholders(wanted, SPELLINGS)
    between = PIECES.index("b")
    ids: tuple[int, ...] = ()
    for step in range(400):
        word = placeholders.demand(ids).forced if step % 20 < 5 else between
        ids = (*ids, word if word >= 0 else between)
    best = float("inf")
    for _ in range(3):
        began = time.thread_time()
        for _ in range(100):
            placeholders.demand(ids)
            ids = (*ids, between)
            placeholders.num_missing(ids)
        best = min(best, time.thread_time() - began)
    return best


def test_a_step_takes_no_longer_for_more_placeholders():
    few, many = seconds_of_steps(40), seconds_of_steps(800)
    assert many < 3 * few  # it counted all placeholders and all words: twenty times as many


def test_states_of_short_hypotheses_are_forgotten():
    placeholders = Placeholders([Placeholder("{a}")], SPELLINGS)
    beam: list[tuple[int, ...]] = [()]
    for _ in range(20):
        for ids in beam:
            placeholders.demand(ids)
            placeholders.needed(ids)
        beam = [(*ids, PIECES.index(piece)) for ids in beam for piece in ("b", "a")][:4]
    assert placeholders.num_states <= 8


def test_words_are_those_with_which_copies_are_written_from_any_place_on():
    placeholders = Placeholders([Placeholder("{a}"), Placeholder("10")], SPELLINGS)
    assert {PIECES.index(piece) for piece in ("▁{a}", "{a", "}", "a}", "▁10", "0")} <= placeholders.words
    assert PIECES.index("b") not in placeholders.words


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("urls", "see https://a.de/b?c=1&d. Or <http://x.y/>!", ["https://a.de/b?c=1&d", "http://x.y/"]),
        ("emails", "to a.b+c@d-e.fr.", ["a.b+c@d-e.fr"]),
        ("tags", "a <b>c</b> < d <br/> 1<2", ["<b>", "</b>", "<br/>"]),
        ("braces", "{} {name} ${x} {{y}} { no }", ["{}", "{name}", "${x}", "{{y}}"]),
        ("printf", "%s, %(n)d, %1$s 5% of, %5.2f", ["%s", "%(n)d", "%1$s", "%5.2f"]),
        ("numbers", "a1 12, 3.5 1,000.", ["12", "3.5", "1,000"]),
        ("/[A-Z]{2}-[0-9]+/", "see AB-12 and A-1", ["AB-12"]),
    ],
)
def test_patterns_find_what_they_are_called(name, text, found):
    assert placeholder_pattern([name]).findall(text) == found


def test_what_begins_first_counts_where_patterns_overlap():
    assert placeholder_pattern(list(PATTERNS)).findall("<a href='http://x.y/1'>2</a>") == [
        "<a href='http://x.y/1'>",
        "2",
        "</a>",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "url",
            "placeholders: 'url' is none of urls, emails, tags, braces, printf, numbers, emoji, formatted-numbers, "
            "nor a regular expression between",
        ),
        ("/(/", r"placeholders: /\(/ is no regular expression: missing \)"),
        ("/(a)/", r"placeholders: /\(a\)/ has a group"),
        ("/a*/", r"placeholders: /a\*/ matches the empty text"),
    ],
)
def test_what_names_no_pattern_is_an_error(name, message):
    with pytest.raises(ValueError, match=message):
        placeholder_pattern([name])


def test_a_text_that_the_vocabulary_cannot_spell_is_known_as_such():
    without_bytes = Spellings(["<pad>", "<unk>", "<s>", "</s>", *WORDS])
    assert can_be_spelt("{a}", without_bytes)
    assert not can_be_spelt("{é}", without_bytes)
    assert can_be_spelt("{é}", SPELLINGS)
