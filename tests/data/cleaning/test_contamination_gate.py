"""The key that says two sentences are one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtmoe.data.cleaning.contamination_gate import comparison_key
from mtmoe.data.cleaning.normal_form import normalise_line

_ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()), max_size=30)
"""With control characters and lone surrogates, which Hypothesis leaves out by itself."""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Go!", "go ."),
        ("Don’t  stop", "don't stop"),
        ("„Ja“, sagte er.", "Ja sagte er"),
        ("STRASSE", "straße"),
        ("ﬁne", "fine"),
        ("cafe\u0301", "CAFÉ"),
        ("a\u00a0b", "a b"),
        ("（笑）", "笑"),
    ],
)
def test_case_punctuation_spacing_and_letter_forms_do_not_make_another_sentence(one, other):
    assert comparison_key(one) == comparison_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Go", "Goes"), ("3 + 4", "3 4"), ("की", "का"), ("?", "!"), ("$5", "€5"), ("10", "1 0"), ("côte", "cote")],
)
def test_other_words_numbers_signs_and_vowels_make_another_sentence(one, other):
    assert comparison_key(one) != comparison_key(other)


def test_only_a_blank_line_has_an_empty_key():
    assert comparison_key(" \u2028 ") == ""
    assert comparison_key("...") == "..."


@given(_ANY_TEXT)
def test_normalising_does_not_change_the_key(text):
    assert comparison_key(normalise_line(text)) == comparison_key(text)
