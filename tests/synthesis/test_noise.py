"""Noise: how often words are left out and blanked, how far they move, and that a line's noise is its own."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest

from mtmoe.synthesis.noise import FILLER, NO_NOISE, Noise, noised

WORDS = [f"w{place}" for place in range(12)]
TEXT = " ".join(WORDS)
NUM_LINES = 3000


def test_words_are_left_out_and_blanked_as_often_as_the_shares_say() -> None:
    noise = Noise(drop=0.2, blank=0.25, shuffle=0)
    num_words = NUM_LINES * len(WORDS)
    counts = Counter(word for number in range(NUM_LINES) for word in noised(TEXT, noise, 1, number).split())
    kept = sum(counts.values())
    assert kept / num_words == pytest.approx(0.8, abs=4 * math.sqrt(0.16 / num_words))
    assert counts[FILLER] / kept == pytest.approx(0.25, abs=4 * math.sqrt(0.19 / kept))
    for word in WORDS:  # each place alike
        assert counts[word] / NUM_LINES == pytest.approx(0.6, abs=4 * math.sqrt(0.24 / NUM_LINES))


@pytest.mark.parametrize("shuffle", [0, 1, 3])
def test_no_word_moves_further_than_it_may_and_some_move_as_far(shuffle: int) -> None:
    moves = Counter(
        place - int(word.removeprefix("w"))
        for number in range(NUM_LINES)
        for place, word in enumerate(noised(TEXT, Noise(0.0, 0.0, shuffle), 1, number).split())
    )
    assert set(moves) == set(range(-shuffle, shuffle + 1))


def test_two_words_change_places_with_their_probability() -> None:
    # Keys U(0, s + 1) and 1 + U(0, s + 1): the second is smaller with probability (s / (s + 1))^2 / 2.
    for shuffle in (1, 3):
        turned = sum(noised("a b", Noise(0.0, 0.0, shuffle), 5, number) == "b a" for number in range(NUM_LINES))
        expected = (shuffle / (shuffle + 1)) ** 2 / 2
        assert turned / NUM_LINES == pytest.approx(expected, abs=4 * math.sqrt(0.25 / NUM_LINES))


def test_the_noise_of_a_line_depends_on_seed_and_number_alone() -> None:
    noise = Noise()
    once = [noised(TEXT, noise, 1, number) for number in range(20)]
    assert once == [noised(TEXT, noise, 1, number) for number in range(20)]
    assert len(set(once)) > 10
    assert once != [noised(TEXT, noise, 2, number) for number in range(20)]


def test_a_sentence_with_a_word_keeps_one() -> None:
    for number in range(200):
        assert noised("one two", Noise(drop=0.99, blank=0.0, shuffle=0), 1, number) in ("one", "two", "one two")
    assert noised("", Noise(), 1, 0) == ""
    assert noised(" a  b ", NO_NOISE, 1, 0) == " a  b "


def test_characters_are_the_words_of_a_language_without_spaces() -> None:
    text = "今日は良い天気"
    found = {noised(text, Noise(0.0, 0.0, 1), 1, number, with_spaces=False) for number in range(50)}
    assert all(sorted(each) == sorted(text) for each in found)
    assert len(found) > 10
    dropped = noised(text, Noise(0.5, 0.0, 0), 1, 3, with_spaces=False)
    rest = itertools.chain(text)
    assert all(character in rest for character in dropped)  # in their order
    assert 0 < len(dropped) < len(text)
