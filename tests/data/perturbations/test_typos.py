"""Typos: which there are, how many, and that they are the same for the same stream."""

from __future__ import annotations

import pytest
import regex

from mtmoe.data.perturbations.keyboards import neighbours_of
from mtmoe.data.perturbations.typos import with_typo, with_typos
from mtmoe.data.random_streams import Purpose, random_stream


def stream(*numbers: int):
    return random_stream(Purpose.PERTURBATION, *numbers)


def possible_typos(word: str, neighbours: dict[str, str]) -> set[str]:
    """All of them, by hand."""
    found = set()
    for i, letter in enumerate(word):
        found |= {word[:i] + word[i + 1 :], word[: i + 1] + word[i:]}
        found |= {word[:i] + other + word[i + 1 :] for other in neighbours.get(letter, "")}
        if i + 1 < len(word) and word[i] != word[i + 1]:
            found.add(word[:i] + word[i + 1] + word[i] + word[i + 2 :])
    return found


@pytest.mark.parametrize(("word", "language"), [("was", "en"), ("zoo", "de"), ("ещё", "ru"), ("漢字", "zh")])
def test_every_typo_that_is_possible_is_drawn_and_no_other(word, language):
    neighbours = neighbours_of(language)
    drawn = {with_typo(word, stream(n), neighbours) for n in range(3000)}
    assert drawn == possible_typos(word, neighbours)


def test_a_key_of_another_layout_has_other_neighbours():
    assert set("sedxcf") <= set(neighbours_of("en")["d"]) | {"d"}
    assert "z" in neighbours_of("en")["a"]
    assert "y" in neighbours_of("de")["a"]
    assert "z" in neighbours_of("de")["t"]
    assert "q" in neighbours_of("fr")["a"]
    assert "s" not in neighbours_of("fr")["a"]
    assert neighbours_of("ja") == {}
    assert neighbours_of("xx") == neighbours_of("en")
    for language in ("en", "de", "fr", "es", "sv", "da", "tr", "ru", "uk", "el", "he", "ar"):
        found = neighbours_of(language)
        assert all(letter in found[other] for letter in found for other in found[letter])
        assert len(found) >= 22


def test_a_typo_keeps_capitals_and_takes_no_mark_from_its_letter():
    assert {with_typo("AB", stream(n), {"a": "q", "b": "n"}) for n in range(200)} == {
        *("B", "A", "AAB", "ABB", "BA", "QB", "AN")
    }
    word = "e\u0301a\u0308o"  # three letters, two of them with a mark
    for n in range(200):
        assert set(regex.findall(r"\X", with_typo(word, stream(n), {}))) <= {"e\u0301", "a\u0308", "o"}


def test_one_word_in_ten_has_a_typo_and_items_have_none():
    text = "https://example.org/path {name} %s <b> me@example.org " + " ".join(["words"] * 995)
    changed = with_typos(text, 0.1, stream(7), "en").split(" ")
    assert changed[:5] == text.split(" ")[:5]
    assert 70 < sum(word != "words" for word in changed[5:]) < 130


def test_words_of_one_letter_and_signs_stay():
    assert with_typos("I , 7 ! 1984 a", 1.0, stream(1), "en") == "I , 7 ! 1984 a"


def test_the_same_stream_gives_the_same_typos():
    text = "the quick brown fox jumps over the lazy dog"
    assert with_typos(text, 0.5, stream(3), "en") == with_typos(text, 0.5, stream(3), "en")
    assert len({with_typos(text, 0.5, stream(n), "en") for n in range(20)}) > 15
