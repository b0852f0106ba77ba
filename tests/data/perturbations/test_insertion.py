"""Items: what is drawn, where it is put, and taking it out again."""

from __future__ import annotations

import pytest
import regex

from mtmoe.config.placeholder_patterns import placeholder_pattern
from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.data.perturbations.end_punctuation import ending_of, without_end_punctuation
from mtmoe.data.perturbations.insertion import Place, drawn_place, inserted, removed
from mtmoe.data.perturbations.items import ITEM_KINDS, drawn_item
from mtmoe.data.perturbations.sentences import merged, noise_line
from mtmoe.data.random_streams import Purpose, random_stream

PATTERNS = {"url": "urls", "email": "emails", "tag": "tags"}


def stream(*numbers: int):
    return random_stream(Purpose.PERTURBATION, *numbers)


@pytest.mark.parametrize("kind", ITEM_KINDS)
def test_items_are_what_they_are_called_and_in_normal_form(kind):
    drawn = {drawn_item(kind, stream(n)) for n in range(300)}
    assert len(drawn) > 30
    for item in drawn:
        assert normalise_line(item) == item
        assert " " not in item or kind == "tag"
        if kind == "emoji":
            assert regex.fullmatch(r"\X", item), f"{item!r} is not one sign"
            continue
        names = ["braces", "printf"] if kind == "placeholder" else [PATTERNS[kind]]
        assert placeholder_pattern(names).findall(f"see {item} now") == [item]


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Place(0), "X where is it ?"),
        (Place(0, is_joined=True), "Xwhere is it ?"),
        (Place(2), "where is X it ?"),
        (Place(4), "where is it ? X"),
        (Place(4, is_joined=True), "where is it ? X"),
        (Place(4, is_before_mark=True), "where is it X ?"),
    ],
)
def test_an_item_is_put_at_its_place(place, text):
    assert inserted("where is it ?", "X", place) == text


def test_an_empty_sentence_and_one_of_marks_alone_take_an_item():
    assert inserted("", "X", Place(0)) == "X"
    assert inserted("...", "X", Place(1, is_before_mark=True)) == "X..."


def test_every_place_is_drawn():
    drawn = [drawn_place("where is it?", stream(n), may_join=True) for n in range(500)]
    expected = {Place(0), Place(1), Place(2), Place(3), Place(3, is_before_mark=True)}
    assert {place._replace(is_joined=False) for place in drawn} == expected
    assert any(place.is_joined for place in drawn)
    assert not any(drawn_place("where is it?", stream(n)).is_joined for n in range(200))


@pytest.mark.parametrize("text", ["Where is it?", "Where is it, “here” or (there) ?", "word", "駅はどこですか。"])
def test_what_was_inserted_anywhere_can_be_taken_out(text):
    for n in range(300):
        item = drawn_item(ITEM_KINDS[n % 5], stream(n))
        place = drawn_place(text, stream(n, 1), may_join=True)
        assert removed(inserted(text, item, place), item).replace(" ", "") == text.replace(" ", "")
        if not text.endswith(" ?"):
            assert removed(inserted(text, item, place), item) == text


def test_all_of_an_item_that_came_twice_is_taken_out():
    assert removed("X a X b X.", "X") == "a b."


@pytest.mark.parametrize(
    ("text", "body", "mark"),
    [
        ("Where is it?", "Where is it", "?"),
        ("Où est-il ?", "Où est-il", " ?"),
        ("Well...", "Well", "..."),
        ("駅です。", "駅です", "。"),
        ("क्या है।", "क्या है", "।"),
        ("no mark", "no mark", ""),
    ],
)
def test_a_sentence_ends_in_the_marks_of_its_script(text, body, mark):
    assert ending_of(text) == (body, mark)
    assert without_end_punctuation(text) == body


def test_what_is_punctuation_alone_is_not_emptied():
    assert without_end_punctuation("?!") == "?!"


def test_sentences_merge_as_their_language_writes_them():
    assert merged("Come in.", "Sit down.", "en") == "Come in. Sit down."
    assert merged("どうぞ。", "座って。", "ja") == "どうぞ。座って。"


def test_noise_lines_are_in_normal_form_and_differ():
    lines = {noise_line(stream(n)) for n in range(300)}
    assert len(lines) > 280
    assert all(line and normalise_line(line) == line for line in lines)
