"""The normal form of a line: one line of NFC, whatever it was, and no more changes after that."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtmoe.data.cleaning.normal_form import normalise_line


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("plain text", "plain text"),
        ("  two  spaces ", "two spaces"),
        ("tab\there", "tab here"),
        ("cafe\u0301", "caf\u00e9"),
        ("a\u2028b\u2029c\u0085d\re\x0bf\x0cg\x1eh", "a b c d e f g h"),
        ("Va\u202f!", "Va !"),
        ("no\u00a0break\u3000wide", "no break wide"),
        ("bell\x07 and nul\x00 and c1\x9f", "bell and nul and c1"),
        ("\ufeffmark", "mark"),
        ("zero\u200bwidth", "zerowidth"),
        ("soft\u00adhyphen", "softhyphen"),
        ("\u202bright\u202c \u2067to\u2069 left\u200f", "right to left"),
        ("e\u200b\u0301", "\u00e9"),  # composed only once the invisible character between is gone
        ("half \ud83d pair", "half \ufffd pair"),
        ("", ""),
        (" \u2028\t ", ""),
    ],
)
def test_a_line_is_brought_into_normal_form(raw, normal):
    assert normalise_line(raw) == normal


@pytest.mark.parametrize(
    "text", ["می\u200cخواهم", "👩\u200d💻", "naïve Straße — „gut“", "ｆｕｌｌ ﬁ ²", "हिन्दी में", "2 < 3 & 4"]
)
def test_text_that_is_in_order_stays_as_it_is(text):
    assert normalise_line(text) == text


_ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()), max_size=30)
"""With control characters and lone surrogates, which Hypothesis leaves out by itself."""


@given(_ANY_TEXT)
def test_normal_form_is_one_line_of_nfc_and_does_not_change_again(text):
    normal = normalise_line(text)
    assert normalise_line(normal) == normal
    assert len(normal.splitlines()) <= 1
    assert unicodedata.is_normalized("NFC", normal)
    assert normal == normal.strip()
    assert normal.encode("utf-8").decode("utf-8") == normal
    assert not any(unicodedata.category(character) == "Cc" for character in normal)
