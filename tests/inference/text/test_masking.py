"""Items cut out of lines: what is left, and what is remembered of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtmoe.config.placeholder_patterns import PASSED_THROUGH, placeholder_pattern
from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.inference.text.masking import MaskedText, Span, items_between, masked

PATTERN = placeholder_pattern(PASSED_THROUGH)


def cut(line: str) -> MaskedText:
    found = list(PATTERN.finditer(line))
    return masked(line, [Span(*match.span(), PATTERN.kind(match) == "tags") for match in found])


@pytest.mark.parametrize(
    ("line", "rest"),
    [
        ("Visit https://a.de now.", "Visit now."),
        ("Visit https://a.de.", "Visit."),
        ("https://a.de is good", "is good"),
        ("is good 😀", "is good"),
        ("Good 😀!", "Good!"),
        ("Good😀!", "Good!"),
        ("Good 😀 !", "Good !"),  # as some languages write it
        ("a😀b", "a b"),
        ("(see {x})", "(see)"),
        ("<b>old</b> dog", "old dog"),
        ("an <b>old</b> dog", "an old dog"),
        ("un<b>happy</b>", "unhappy"),
        ("one<br/>two", "one two"),
        ("one<br>two", "one two"),
        ("{a}", ""),
        ("{a} {b}", ""),
    ],
)
def test_what_is_left_has_neither_a_space_too_many_nor_one_too_few(line, rest):
    assert cut(line).text == rest


@given(
    st.lists(st.sampled_from(["a", "{x}", "b", " ", ".", "<b>", "</b>", "😀", "(", ")", "https://a.de/"]), max_size=12)
)
def test_what_is_left_is_in_normal_form_and_each_item_is_once_in_it_or_in_the_items(parts):
    line = normalise_line("".join(parts))
    found = cut(line)
    assert found.text == normalise_line(found.text)
    together = "".join(item.text for item in found.items)
    assert together == "".join(PATTERN.findall(line))
    assert [item.place for item in found.items] == sorted(item.place for item in found.items)
    places = {place for match in PATTERN.finditer(line) for place in range(*match.span())}
    outside = "".join(sign for place, sign in enumerate(line) if place not in places)
    assert found.text.replace(" ", "") == outside.replace(" ", "")


def test_items_know_where_they_stood():
    (item,) = cut("Visit https://a.de now.").items
    assert (item.place, item.first_word, item.is_joined, item.goes_on, item.partner) == (5, 1, False, False, -1)
    (item,) = cut("Good (😀).").items
    assert (item.place, item.first_word, item.is_joined, item.goes_on) == (6, 1, True, True)


def test_neighbours_that_are_no_tags_are_one_item():
    assert [item.text for item in cut("{a}{b} and 😀😀").items] == ["{a}{b}", "😀😀"]
    assert [item.text for item in cut("<b><i>x</i></b>").items] == ["<b>", "<i>", "</i>", "</b>"]


def test_tags_know_their_other_one():
    partners = [item.partner for item in cut('<b>a <i>b</i></b> <br/> </u> <a href="x">c</a> <p>').items]
    assert partners == [3, 2, 1, 0, -1, -1, 7, 6, -1]


def test_words_that_are_left_know_their_numbers():
    assert cut("See https://a.de or {{ x }} now").word_numbers == (0, 2, 6)
    assert cut("one<br/>two").word_numbers == (0, 0)


def test_parts_of_a_line_have_their_own_items():
    items = cut("One {a}. Two <b>{b}</b>. {c}").items
    assert cut("One {a}. Two <b>{b}</b>. {c}").text == "One. Two."
    first = items_between(items, 0, 5, shift=0, most=4)
    second = items_between(items, 5, 100, shift=-5, most=4)
    assert [(item.text, item.place) for item in first] == [("{a}", 3)]
    assert [(item.text, item.place) for item in second] == [("<b>", 3), ("{b}", 3), ("</b>", 3), ("{c}", 4)]
    assert [item.partner for item in second] == [2, -1, 0, -1]
