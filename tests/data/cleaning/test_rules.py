"""The rules that text has to keep, with their counts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtmoe.config.settings import Cleaning
from mtmoe.data.cleaning.contamination_gate import ContaminationGate
from mtmoe.data.cleaning.normal_form import CHANGES
from mtmoe.data.cleaning.rules import DROPS, Cleaner
from mtmoe.data.raw.sentence_pairs import INVALID_UTF8, BadLine, Pair


def _cleaned(
    pairs: Sequence[tuple[str, str]], held_out: ContaminationGate | None = None, **rules
) -> tuple[list[Pair], dict]:
    cleaner = Cleaner(Cleaning(**rules), held_out)
    kept = list(cleaner.clean(Pair(*pair) for pair in pairs))
    return kept, {rule: count for rule, count in cleaner.report.items() if count}


def test_good_pairs_pass_unchanged_and_in_order():
    pairs = [Pair("One.", "Eins."), Pair("Two.", "Zwei.")]
    assert _cleaned(pairs) == (pairs, {"read": 2, "kept": 2})


@pytest.mark.parametrize(
    ("pair", "rule"),
    [
        (("cafe\u0301", "Kaffee"), "unicode_nfc"),
        (("bell\x07", "Glocke"), "control_characters"),
        (("a\tb", "c"), "control_characters"),
        (("a\u2028b", "c"), "line_separators"),
        (("a\rb", "c"), "line_separators"),
        (("Ça va\u00a0?", "Geht's?"), "white_space"),
        (("a", " b"), "white_space"),
    ],
)
def test_a_change_is_counted_and_the_pair_kept(pair, rule):
    kept, report = _cleaned([pair])
    assert len(kept) == 1
    assert report == {"read": 1, rule: 1, "kept": 1}


def test_a_pair_counts_once_for_a_change_on_both_sides():
    assert _cleaned([("a\x07", "b\x07\x07")])[1] == {"read": 1, "control_characters": 1, "kept": 1}


@pytest.mark.parametrize(
    ("pair", "rule"),
    [
        (("", "leer"), "empty_side"),
        (("nothing", " \u2028 "), "empty_side"),
        (("x" * 21, "y" * 20), "too_long"),
        (("x", "y" * 13), "length_ratio"),
        (("same", "same"), "identical_sides"),
        (("good", "gut"), "duplicate"),
        (("good\u200b", " gut"), "duplicate"),
        (("TEST source.", "anders"), "in_dev_or_test"),
        (("other", "test, Target"), "in_dev_or_test"),
    ],
)
def test_a_pair_is_dropped_by_the_first_rule_it_breaks(pair, rule):
    held_out = ContaminationGate([Pair("test source", "Test target")])
    kept, report = _cleaned([("good", "gut"), pair], held_out, max_characters=20, max_length_ratio=2.0)
    assert kept == [Pair("good", "gut")]
    assert (report["read"], report["kept"], report[rule]) == (2, 1, 1)
    assert sum(report.get(drop, 0) for drop in DROPS) == 1


def test_limits_themselves_are_allowed():
    kept, _ = _cleaned([("x" * 20, "y" * 20), ("x" * 2, "y" * 14)], max_characters=20, max_length_ratio=2.0)
    assert len(kept) == 2


def test_rules_that_the_recipe_switches_off_drop_nothing():
    held_out = ContaminationGate([Pair("a", "b")])
    pairs = [("same", "same"), ("a", "b"), ("a", "b")]
    kept, report = _cleaned(
        pairs, held_out, remove_identical_sides=False, remove_duplicates=False, remove_test_overlap=False
    )
    assert kept == pairs
    assert report == {"read": 3, "kept": 3}


def test_one_source_with_two_translations_is_no_duplicate():
    assert len(_cleaned([("Run!", "Cours !"), ("Run!", "Courez !")])[0]) == 2


def test_a_blank_side_of_a_test_pair_holds_out_nothing():
    held_out = ContaminationGate([Pair("only a source", "")])
    assert len(held_out) == 1
    assert _cleaned([("new", "neu")], held_out)[0] == [("new", "neu")]


def test_held_out_sentences_of_one_side_do_not_count_for_the_other():
    held_out = ContaminationGate([Pair("taxi", "bus")])
    assert Pair("bus", "taxi") not in held_out
    assert Pair("Taxi!", "car") in held_out


def test_duplicates_are_found_across_sources_but_counts_begin_anew():
    cleaner = Cleaner(Cleaning())
    list(cleaner.clean([Pair("a", "b")]))
    first = cleaner.report
    cleaner.new_report()
    assert list(cleaner.clean([Pair("a", "b"), Pair("c", "d")])) == [Pair("c", "d")]
    assert (first["read"], first["kept"]) == (1, 1)
    assert (cleaner.report["read"], cleaner.report["duplicate"], cleaner.report["kept"]) == (2, 1, 1)


def test_lines_that_the_reader_left_out_are_counted():
    cleaner = Cleaner(Cleaning())
    cleaner.count_bad_line(BadLine("a.en", 3, INVALID_UTF8))
    cleaner.count_bad_line(BadLine("a.tmx", 9, "no de in this unit"))
    assert (cleaner.report["read"], cleaner.report["invalid_utf8"], cleaner.report["unreadable"]) == (2, 1, 1)


def test_the_report_lists_every_rule_in_a_fixed_order():
    assert list(Cleaner(Cleaning()).report) == ["read", *CHANGES, *DROPS, "kept"]


_MESSY_SIDES = st.sampled_from(["", "a", "a ", "b\u2028", "b", "cafe\u0301", "x" * 30, "y" * 5, "test", "\x00"])


@given(st.lists(st.tuples(_MESSY_SIDES, _MESSY_SIDES), max_size=40))
def test_every_pair_read_is_either_kept_or_counted_once_as_dropped(pairs):
    cleaner = Cleaner(Cleaning(max_characters=25, max_length_ratio=1.3), ContaminationGate([Pair("test", "y")]))
    kept = list(cleaner.clean(Pair(*pair) for pair in pairs))
    assert cleaner.report["read"] == len(pairs)
    assert cleaner.report["kept"] == len(kept)
    assert cleaner.report["read"] == len(kept) + sum(cleaner.report[rule] for rule in DROPS)
