"""Words in any script, and which scripts have letters that stand alone."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from mtmoe.data.words import num_alphanumerics, set_apart, stands_alone, words_of
from mtmoe.languages import is_written_without_spaces


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't go, 2 times!", ["Don", "t", "go", "2", "times"]),
        ("ラーメンを食べる", list("ラーメンを食べる")),
        ("GIMP で開く", ["GIMP", "で", "開", "く"]),
        ("किताब पढ़ो", ["किताब", "पढ़ो"]),
        ("ลังดี", ["ลั", "ง", "ดี"]),
        ("", []),
    ],
)
def test_a_word_is_what_stands_together_or_a_letter_of_a_script_without_spaces(text: str, words: list[str]) -> None:
    assert [word for word in words_of(text) if word] == words


def test_letters_of_scripts_without_spaces_are_set_apart_with_their_marks() -> None:
    assert set_apart("GIMPで,ดี").split() == ["GIMP", "で", ",", "ดี"]
    assert num_alphanumerics("漢字 a, 1") == 6


def test_letters_stand_alone_in_the_scripts_that_languages_without_spaces_have() -> None:
    """Both know the same scripts. Only old kana, and signs of repetition and voice, are told by one of them alone."""
    letters = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)).startswith("L")]
    names = (unicodedata.name(c, "") for c in letters if stands_alone(c) != is_written_without_spaces(c))
    assert {name.split()[0] for name in names if name} <= {
        "HENTAIGANA", "IDEOGRAPHIC", "VERTICAL", "JAVANESE", "HALFWIDTH", "OLD"
    }  # fmt: skip
    assert sum(map(stands_alone, letters)) > 100_000
