"""Typing errors: what is read as another word, and what stays as it is."""

from __future__ import annotations

from collections.abc import Container

import pytest

from mtmoe.data.perturbations.keyboards import neighbours_of
from mtmoe.data.perturbations.typos import with_typo
from mtmoe.data.random_streams import Purpose, random_stream
from mtmoe.inference.text.typing_errors import Correction, TypingErrors, as_typed

COUNTS = {
    "the": 5000, "you": 3000, "What": 600, "what": 300, "want": 500, "receive": 20, "letter": 40, "house": 200,
    "to": 4000, "can": 900, "do": 1500, "Tom": 900, "don't": 700, "test": 30, "once": 9, "rarely": 1, "map": 30,
    "killed": 60, "but": 900, "believe": 80, "tomorrow": 300, "station": 60,
}  # fmt: skip
DICTIONARY = frozenset({"skilled", "mode", "tested", "off", "of", "aren't"})


@pytest.fixture
def errors() -> TypingErrors:
    """Those of a small text."""
    return TypingErrors(COUNTS, lambda: DICTIONARY, "en")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("I recieve teh leter", "I receive the letter"),  # two in the wrong order, one lost
        ("the houuse, (tset)", "the house, (test)"),  # one doubled
        ("you cam do", "you can do"),  # beside the right one
        ("the lettwr", "the letter"),
        ("Waht do you want?", "What do you want?"),  # "want" is as near, and "What" is more frequent
        ("Go. Teh house", "Go. The house"),
        ("you dont", "you don't"),
        ("ot you", "to you"),  # two letters: their order alone
        ("<b>tset</b> {tset} tset@tset.org", "<b>test</b> {tset} tset@tset.org"),
    ],
)
def test_a_slip_of_the_fingers_is_read_as_what_was_meant(errors: TypingErrors, written: str, read: str) -> None:
    text, corrections = errors.corrected(written)
    assert text == read
    assert corrections
    assert all(correction.written in written and correction.read_as in read for correction in corrections)


@pytest.mark.parametrize(
    "written",
    [
        "a skilled mode",  # in the dictionary, though near words of the text
        "the Leter of Tomm",  # names inside a sentence
        "Nmap is here",  # a letter too many is unlikely, and it may be a name
        "tom, THE, DON'T",  # known, in other letters
        "foo_tset tset2 tset/x tset.txt -tset tset= $teh",  # no words of the language
        "xq zz qqqqqq",  # near nothing
        "rarrly",  # near a word that stands there once, and may be a slip itself
        "o y",
        "bxt",  # three letters, and x lies nowhere near u
        "teh hosue recieve leter",  # nearly all of it: another language
        "",
    ],
)
def test_what_may_be_right_stays_as_it_is(errors: TypingErrors, written: str) -> None:
    assert errors.corrected(written) == (written, ())


def test_corrections_are_told_in_order(errors: TypingErrors) -> None:
    _, corrections = errors.corrected("you recieve the letter tomorow")
    assert corrections == (Correction("recieve", "receive"), Correction("tomorow", "tomorrow"))


def test_corrections_of_a_line_in_capitals_have_its_letters() -> None:
    found = (Correction("teh", "the"), Correction("sation", "station"), Correction("teh", "the"))
    assert [correction.written for correction in as_typed(found, "IS TEH Sation OF teh X")] == ["TEH", "Sation", "teh"]
    assert as_typed((Correction("straße", "straßen"),), "STRASSE") == (Correction("straße", "straßen"),)


def test_every_slip_that_augmentation_makes_is_one_that_is_found(errors: TypingErrors) -> None:
    random, beside = random_stream(Purpose.PERTURBATION, 1), neighbours_of("en")
    for word in ("tomorrow", "believe", "station"):
        for _ in range(100):
            written = with_typo(word, random, beside)
            assert errors.corrected(f"you {written} do")[0] == f"you {word} do", written


def test_the_dictionary_is_read_for_unknown_words_alone() -> None:
    asked = []

    def dictionary() -> Container[str]:
        asked.append(1)
        return DICTIONARY

    errors = TypingErrors(COUNTS, dictionary, "en")
    errors.corrected("what do you want, Tom")
    assert not asked
    errors.corrected("a skilled leter")
    errors.corrected("a skilled leter")
    assert asked == [1]
