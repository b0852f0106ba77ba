"""Terms: where a line has them, and files that cannot be understood."""

from __future__ import annotations

import pickle

import pytest

from mtmoe.errors import UserError
from mtmoe.inference.constraints.terminology import Term, Terminology, read_terms

TERMS = Terminology(
    Term(*pair)
    for pair in [
        ("station", "gare"),
        ("York", "York"),
        ("New York", "la ville de New York"),
        ("apple", "pomme"),
        ("Apple", "Apple"),
        ("C++", "C++"),
        ("नमस्ते", "bonjour"),
        ("light-year", "année-lumière"),
    ]
)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("The station is old.", ["station"]),
        ("STATION? Station!", ["station"]),
        ("The stations and a gas-station", ["station"]),
        ("substation, stations, station2, station_", []),
        ("york", []),
        ("In New York and in York.", ["New York", "York"]),
        ("New York", ["New York"]),
        ("an apple of Apple", ["apple", "Apple"]),
        ("APPLE", ["apple"]),
        ("written in C++, not C", ["C++"]),
        ("a light-year, light years", ["light-year"]),
        ("नमस्ते", ["नमस्ते"]),
        ("नमस्तेे", []),
        ("", []),
    ],
)
def test_terms_are_found_as_whole_words_the_longest_first(line, found):
    assert [term.source for term in TERMS.found(line)] == found


def test_without_spaces_between_words_a_term_is_found_anywhere():
    terms = Terminology([Term("東京", "Tokyo"), Term("東京駅", "gare de Tokyo")])
    assert [term.target for term in terms.found("私は東京駅と東京に", apart=False)] == ["gare de Tokyo", "Tokyo"]
    assert terms.found("私は東京駅と東京に") == ()


def test_terms_are_read_in_the_normal_form_of_a_line_and_travel_to_workers(tmp_path):
    path = tmp_path / "terms.tsv"
    path.write_text("  old   station \tvieille\u00a0gare\n\nsnow\tneige\nsnow\tneige\r\n")
    terms = read_terms(path)
    assert terms.terms == (Term("old station", "vieille gare"), Term("snow", "neige"))
    again = pickle.loads(pickle.dumps(terms))
    assert again.found("Snow on the old station") == terms.found("Snow on the old station") != ()
    assert again.digest == terms.digest != Terminology(terms.terms[:1]).digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\n\nc\n", r"terms.tsv, line 3: has 1 columns, but a term has two\nwrite: source term, tab, target term"),
        ("a\tb\tc\n", r"terms.tsv, line 1: has 3 columns"),
        ("a\tb\nc\t \n", r"terms.tsv, line 2: has a blank column"),
        ("a\tb\nA\tb\na\tc\n", r"terms.tsv, line 3: 'a' is 'c' here, but 'b' in line 1\nleave one of them"),
        ("\n", r"terms.tsv: has no terms"),
    ],
)
def test_a_file_that_cannot_be_understood_is_an_error_with_file_and_line(tmp_path, text, message):
    path = tmp_path / "terms.tsv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_terms(path)
