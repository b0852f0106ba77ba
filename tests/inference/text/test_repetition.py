"""Loops: told by hand, and each fast way against trying every phrase."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtmoe.data.words import num_letters, words_of
from mtmoe.inference.text.repetition import (
    OF_TEXT,
    Repetition,
    RepetitionLimits,
    SubwordTexts,
    TextRepetition,
    has_loop,
    limits_after,
)
from mtmoe.inference.text.spelling import letters_of_subwords

LOOPS = [
    ("Take the road.", "Prenez la route la route.", False),  # 7 letters twice
    ("Take the road.", "Prenez la route la route la route.", True),
    ("Now", "à l'heure actuelle de l'heure actuelle de", True),
    ("Hm", "le train de le train de le train de", True),
    ("Business is business.", "Les affaires sont les affaires.", False),
    ("No.", "Non, non, non !", False),
    ("No.", "Non, non, non, non !", True),
    ("No, no, no, no!", "Non, non, non, non !", False),
    ("Very good.", "Wonderful, wonderful!", False),
    ("Very good.", "Wonderful, wonderful, wonderful!", True),
    ("Very good.", "So wonderful, so wonderful!", True),
    ("It is so wonderful, so wonderful.", "Si merveilleux, si merveilleux.", False),
    ("Dots", ". . . . . . . . . .", False),
    ("1", "0 0 0 0 0 0 0 0", False),
    ("What I like to do is what you see", "Ce que je fais ce que je fais se voit", True),  # far apart
    ("The women talk.", "Les femmes les femmes parlent.", True),  # in another case
    ("x", "", False),
    ("Hm", "你好吗朋友你好吗朋友", True),
    ("Hm", "ファイルを開くファイルを開く", True),
    ("Hm", "研究研究吧", False),
    ("Haha", "哈哈哈", False),
    ("Hm", "哈哈哈哈哈哈", True),
    ("どんどん進む", "どんどん進む", False),
    ("Hm", "เปิดแฟ้มใหม่เปิดแฟ้มใหม่", True),
    ("Hm", "यह की है", False),
    ("Hm", "काम की काम के", False),  # one letter each, were vowel signs no part of a word
    ("Hm", "किताब पढ़ो किताब पढ़ो किताब पढ़ो", True),
]


@pytest.mark.parametrize(("source", "text", "is_loop"), LOOPS)
def test_what_people_would_not_write_is_a_loop(source, text, is_loop):
    assert has_loop(text, source) == is_loop


def too_often(symbols, letters_of, limits) -> bool:
    """The obvious way: whether any phrase stands anywhere once more often in a row than the limits say."""
    for begin in range(len(symbols)):
        for length in range(1, len(symbols) - begin + 1):
            phrase = symbols[begin : begin + length]
            num_letters = sum(letters_of[symbol] for symbol in phrase)
            times = limits.times(num_letters, length) + 1
            if num_letters and symbols[begin : begin + times * length] == phrase * times:
                return True
    return False


LETTERS = [0, 1, 3, 5, 9]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(range(5)), max_size=14), st.lists(st.sampled_from(range(5)), max_size=6))
def test_a_word_is_banned_just_where_it_would_complete_a_loop(ids, source):
    limits = limits_after(source, LETTERS.__getitem__)
    if too_often(tuple(ids), LETTERS, limits):
        return
    expected = {word for word in range(5) if too_often((*ids, word), LETTERS, limits)}
    assert Repetition(source, LETTERS).looping_words(tuple(ids)) == expected


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["a", "bcd", "efghi", "jklmnopqr", "12"]), max_size=12))
def test_a_text_has_a_loop_just_where_a_phrase_stands_too_often(words):
    letters_of = {word: sum(map(str.isalpha, word)) for word in words}
    assert has_loop(" ".join(words), "x") == too_often(tuple(words), letters_of, OF_TEXT)


SIGNS = ["", "漢", "字", "漢字", "字漢", "漢字漢", "の", "のの", "、", "a", " a", "の漢"]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(range(len(SIGNS))), max_size=9))
def test_a_subword_of_several_words_is_banned_just_where_it_would_complete_a_loop(ids):
    def loops(text: str) -> bool:
        words = words_of(text)
        return too_often(tuple(words), {word: num_letters(word) for word in words}, OF_TEXT)

    text = "".join(SIGNS[i] for i in ids)
    if loops(text):
        return
    expected = {i for i, sign in enumerate(SIGNS) if loops(text + sign)}
    assert TextRepetition("x", SubwordTexts(SIGNS)).looping_words(ids) == expected


def test_a_source_that_repeats_something_allows_it_as_often():
    letters = {"no": 2, ",": 0, "very": 4}
    assert limits_after([], letters.__getitem__) == RepetitionLimits(3, 2, 1)
    assert limits_after(["no", ",", "no", ",", "no", ",", "no"], letters.__getitem__) == RepetitionLimits(4, 4, 4)
    assert limits_after(["very", ",", "very"], letters.__getitem__) == RepetitionLimits(3, 2, 2)
    assert limits_after(["very", "no", "no", "very"], letters.__getitem__) == RepetitionLimits(3, 2, 1)


def test_lines_of_any_length_take_a_time_in_proportion():
    texts = ["one two three four five six " * 300, "wonderful " * 1800, "the man saw the dog and then " * 250]
    for text in texts:
        begin = time.process_time()
        assert has_loop(text, "x")
        assert not has_loop(text, text)
        assert not has_loop(" ".join(f"{text[:20]}{number}" for number in range(2000)), text)
        assert time.process_time() - begin < 5


PIECES = [
    "<pad>",
    "<unk>",
    "<s>",
    "</s>",
    "<0x41>",
    "<0xC3>",
    "<0xA9>",
    "▁",
    "▁the",
    "▁Wo",
    "men",
    "▁women",
    "▁talk",
    "s",
    ",",
]
SPELT = ["", "", "", "", "A", "?", "?", " ", " the", " Wo", "men", " women", " talk", "s", ","]


def ids_of(*pieces: str) -> tuple[int, ...]:
    return tuple(PIECES.index(piece) for piece in pieces)


def test_by_their_text_phrases_are_the_same_in_other_subwords_and_another_case():
    repetition = TextRepetition("x", SubwordTexts(SPELT))
    assert repetition.looping_words(ids_of("▁the", "▁women", "▁the")) == set(ids_of("▁women"))
    assert repetition.looping_words(ids_of("▁the", "▁women", ",", "▁the", "▁Wo")) == set(ids_of("men"))
    assert repetition.looping_words(ids_of("▁the", "▁women", "▁talk")) == frozenset()
    assert repetition.looping_words(()) == frozenset()
    allowing = TextRepetition("the women, the women", SubwordTexts(SPELT))
    assert allowing.looping_words(ids_of("▁the", "▁women", "▁the")) == frozenset()


def test_letters_of_subwords_are_counted_and_bytes_once_a_character():
    assert letters_of_subwords(PIECES) == [0, 0, 0, 0, 1, 1, 0, 0, 3, 2, 3, 5, 4, 1, 0]
