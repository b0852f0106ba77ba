"""Case of letters in the languages that have rules of their own, and what is left alone."""

from __future__ import annotations

import pytest

from mtmoe.data.perturbations.letter_case import lower_case, title_case, upper_case


@pytest.mark.parametrize(
    ("text", "language", "capitals"),
    [
        ("Die Straße", "de", "DIE STRASSE"),
        ("istanbul ışık", "tr", "İSTANBUL IŞIK"),
        ("istanbul", "az-Latn", "İSTANBUL"),
        ("istanbul", "en", "ISTANBUL"),
        ("istanbul", "", "ISTANBUL"),
        ("ο δρόμος", "el", "Ο ΔΡΟΜΟΣ"),
        ("ο δρόμος", "", "Ο ΔΡΌΜΟΣ"),
        ("naïve Ελλάδα", "el", "NAÏVE ΕΛΛΑΔΑ"),
        ("ﬁn", "fr", "FIN"),
        ("привет", "ru", "ПРИВЕТ"),
        ("日本語 กขค שלום", "ja", "日本語 กขค שלום"),
    ],
)
def test_capitals(text, language, capitals):
    assert upper_case(text, language) == capitals


@pytest.mark.parametrize(
    ("text", "language", "small"),
    [
        ("ISPARTA İZMİR", "tr", "ısparta izmir"),
        ("ISPARTA", "it", "isparta"),
        ("ΟΔΟΣ ΣΟΦΟΣ.", "el", "οδος σοφος."),
        ("GROẞ", "de", "groß"),
    ],
)
def test_small_letters(text, language, small):
    assert lower_case(text, language) == small


@pytest.mark.parametrize(
    ("text", "language", "title"),
    [
        ("where's the (big) o'clock?", "en", "Where's The (Big) O'clock?"),
        ("NATO is in town", "en", "NATO Is In Town"),
        ("istanbul ışık", "tr", "İstanbul Işık"),
        ("ǆep 3rd ßa", "hr", "ǅep 3Rd Ssa"),
        ("日本語 です", "ja", "日本語 です"),
    ],
)
def test_title_case_changes_the_first_letter_of_each_word_alone(text, language, title):
    assert title_case(text, language) == title


@pytest.mark.parametrize("change", [upper_case, lower_case, title_case])
def test_addresses_placeholders_and_tags_keep_their_case(change):
    items = ["https://a.example/Bc?d=E", "www.aB.de", "aB@cd.EF", "{aB}", "%s", "%(aB)d", '<a hRef="x Y">', "</b>"]
    for item in items:
        assert item in change(f"see {item} now, OK", "en"), item
        assert change(f"see {item} now, OK", "en") != f"see {item} now, OK"
