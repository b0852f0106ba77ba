"""Rules that a pair breaks by itself or because of earlier ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtmoe.config.settings import Cleaning
from mtmoe.data.raw.sentence_pairs import Pair
from mtmoe.errors import UserError
from mtmoe.filtering.criteria import Criteria
from mtmoe.filtering.pair_rules import PairRules
from tests.parallel_text import write_lines

PAIRS = [
    Pair("The old book is red.", "Das alte Buch ist rot."),
    Pair("", "Leer."),
    Pair("The old  book is red.", "Das alte Buch ist rot."),
    Pair("The old book is red!", "Das alte Buch ist rot!"),
    Pair("Where is the station?", "Wo ist der Bahnhof?"),
    Pair("Our neighbour found a letter.", "Unser Nachbar fand einen Brief."),
    Pair("Untranslated.", "Untranslated."),
    Pair("No.", "Nein, das ist ganz und gar nicht so, wie man es uns bisher immer erzählt hat, und überhaupt."),
]


def broken(criteria: Criteria) -> list[str]:
    return [checked.broken for checked in PairRules(criteria).checked(PAIRS)]


def test_cleaning_and_exact_duplicates_are_the_rules_of_every_filter() -> None:
    strict = Criteria(cleaning=Cleaning(max_length_ratio=4.0))
    assert broken(Criteria()) == ["", "empty_side", "duplicate", "", "", "", "identical_sides", ""]
    assert broken(strict) == [*broken(Criteria())[:-1], "length_ratio"]
    assert broken(Criteria(cleaning=Cleaning(remove_duplicates=False)))[2] == ""


def test_pairs_come_out_in_normal_form() -> None:
    checked = list(PairRules(Criteria()).checked(PAIRS))
    assert checked[2].pair == PAIRS[0]


def test_a_pair_that_nearly_repeats_an_earlier_one_is_left_out() -> None:
    assert broken(Criteria(with_near_duplicates=True))[3] == "near_duplicate"
    assert broken(Criteria(with_near_duplicates=True)).count("near_duplicate") == 1


def test_a_side_that_is_nearly_a_held_out_sentence_is_left_out(tmp_path: Path) -> None:
    held_out = write_lines(tmp_path / "test", ["", "Unser Nachbar fand einen Brief", "where is the stations"])
    expected = ["", "empty_side", "duplicate", "", "held_out", "held_out", "identical_sides", ""]
    assert broken(Criteria(held_out=(held_out,), similarity=0.8)) == expected
    assert broken(Criteria(held_out=(held_out,), similarity=1.0))[4:6] == ["", "held_out"]


def test_more_held_out_sentences_than_are_remembered_are_an_error(tmp_path: Path) -> None:
    held_out = write_lines(tmp_path / "test", [f"sentence {number}" for number in range(1025)])
    with pytest.raises(UserError, match="line 1,025: more than 1,024 held-out sentences"):
        PairRules(Criteria(held_out=(held_out,), most_remembered=1024))
