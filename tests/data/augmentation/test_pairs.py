"""What becomes of a pair, side by side."""

from __future__ import annotations

import re

import pytest

from mtmoe.data.augmentation.aligned_places import AlignedPlace
from mtmoe.data.augmentation.draws import Kinds
from mtmoe.data.augmentation.pairs import PairText, changed_pair
from mtmoe.data.random_streams import Purpose, random_stream
from mtmoe.languages import Direction

PAIR = PairText("Where is the old house?", "Où est la vieille maison ?")
OTHER = PairText("He came home.", "Il est rentré.")
EN_FR = Direction("en", "fr")


def changed(kinds: Kinds, number: int = 0, pair=PAIR, direction=EN_FR, **more):
    random = random_stream(Purpose.AUGMENTATION, number)
    return changed_pair(pair, kinds, random, direction, **{"typo_rate": 1.0} | more)


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (Kinds(), PAIR),
        (Kinds(upper=True), ("WHERE IS THE OLD HOUSE?", "OÙ EST LA VIEILLE MAISON ?")),
        (Kinds(title=True), ("Where Is The Old House?", PAIR.target)),
        (Kinds(lower=True), ("where is the old house?", PAIR.target)),
        (Kinds(no_punctuation=True), ("Where is the old house", PAIR.target)),
        (Kinds(lower=True, no_punctuation=True), ("where is the old house", PAIR.target)),
        (Kinds(merged=True), ("Where is the old house? He came home.", f"{PAIR.target} {OTHER.target}")),
        (Kinds(upper=True, no_punctuation=True, merged=True),
         ("WHERE IS THE OLD HOUSE HE CAME HOME", "OÙ EST LA VIEILLE MAISON ? IL EST RENTRÉ.")),
    ],
)  # fmt: skip
def test_case_marks_and_merging(kinds, expected):
    assert changed(kinds, partner=OTHER) == expected


def test_capitals_are_those_of_each_language_and_a_source_without_case_changes_nothing():
    pair = PairText("Straße", "istanbul")
    assert changed(Kinds(upper=True), pair=pair, direction=Direction("de", "tr")) == ("STRASSE", "İSTANBUL")
    pair = PairText("駅はどこ", "Where is it")
    assert changed(Kinds(upper=True), pair=pair, direction=Direction("ja", "en")) == pair


def test_typos_are_in_the_source_alone():
    for number in range(20):
        source, target = changed(Kinds(typos=True), number)
        assert source != PAIR.source
        assert target == PAIR.target


SOURCE_WITH_ITEM = re.compile(r"(?:(.+?) ?)?Where is the old (?:(.+?) ?)?house(?: (.+))?\?(?: (.+))?")
TARGET_WITH_ITEM = re.compile(r"(?:(.+?) ?)?Où est la vieille (?:(.+?) ?)?maison(?: (.+))? \?(?: (.+))?")


def test_an_item_is_the_same_on_both_sides_and_stands_at_ends_or_before_aligned_words():
    seen = set()
    for number in range(300):
        source, target = changed(Kinds(items=True), number, places=[AlignedPlace(4, 4)])
        found = SOURCE_WITH_ITEM.fullmatch(source)
        assert found is not None, source
        assert found.groups() == TARGET_WITH_ITEM.fullmatch(target).groups()
        [place] = [place for place, item in enumerate(found.groups()) if item]
        seen.add(place)
    assert seen == {0, 1, 2, 3}, "in front, before a word, before the mark, behind it"


def test_noise_is_the_same_on_both_sides_and_nothing_of_the_pair_is_left():
    source, target = changed(Kinds(noise=True))
    assert source == target
    assert "house" not in source
