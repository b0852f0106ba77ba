"""What is a loop, and what is emphasis."""

from __future__ import annotations

import pytest

from mtmoe.evaluation.repeated_phrases import has_loop


@pytest.mark.parametrize(
    "text",
    [
        "no no no no",
        "Tom, Tom, Tom et Tom, tom tom TOM!",
        "of the of the of the house",
        "he said that he would, he said that he would come",
        "それはそれはそれは何",
        "काम काम काम काम",
        "x " + "a b c d e f g h i j k l m n o p q r s t " * 2,
    ],
)
def test_a_phrase_in_a_row_is_a_loop(text):
    assert has_loop(text)
    assert not has_loop(text, ["a text", text]), "the source does the same"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "very, very, very good",
        "of the of the house",
        "come in, come in",
        "a b c a d b c a",
        "ははは",
        "!!!!",
        "का की के को",
        "กาก็",
    ],
)
def test_emphasis_is_none(text):
    assert not has_loop(text)
