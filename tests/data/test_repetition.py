"""Loops: told by hand, and each fast way against trying every phrase."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtmoe.data.repetition import OF_TEXT, OF_WORDS, Measures, RepetitionLimits, has_loop, limits_after
from tests.data.slow_loops import too_often

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
    ("1", "0 0 0 0 0 0 0 0", True),
    ("0 0 0 0", "0 0 0 0", False),
    ("One billion.", "1.000.000.000", False),
    ("Room 12, room 12", "12 12, 12", False),
    ("Call me.", "12 34 12 34 12 34", True),
    ("Hm", "of the of the of the house", True),
    ("Hm", "of the of the house", False),
    ("Hm", "I do, I do", False),
    ("Hm", "-S-S-M-S-S-M", True),
    ("Hm", "S M S S M", False),
    ("S-S-M-S-S-M", "S S M S M S", False),
    ("bye bye bye", "au revoir au revoir au revoir", False),
    ("Hm", "the man saw a dog the dog saw a man the man a dog saw the", True),
    ("Hm", "the man saw a dog the dog saw a man the man a dog", False),
    ("Tom", "he said that he would, he said that he would come", True),
    ("Hm", "x " + "a b c d e f g h i j k l m n o p q r s t " * 2, True),
    ("Hm", "ハハハ", False),
    ("Hm", "Il fait lolololololol.", True),
    ("Hm", "Le ::::::: du", True),
    ("hahahahahaha", "hihihihihihi", False),
    ("Hm", "Aaaaah... 1000000", False),
    ("<unk> of <unk> and <unk>, <unk>", "<unk> <unk> <unk> <unk> de et", False),
    ("<unk> of <unk>", "<unk> <unk> <unk> <unk> de et", True),
    ("Hm", "それはそれはそれは何", True),
    ("Hm", "काम काम काम काम", True),
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


def test_any_of_several_sources_explains_a_loop():
    text = "no no no no no no"
    assert has_loop(text, "No.", "Stop.")
    assert not has_loop(text, "No.", text)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["a", "bcd", "efghi", "jklmnopqr", "12"]), max_size=12))
def test_a_text_has_a_loop_just_where_a_phrase_stands_too_often(words):
    assert has_loop(" ".join(words), "x") == too_often(tuple(words), OF_WORDS, OF_TEXT)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_long_chains_are_found_as_well(data):
    """Of so many words that nothing else but the number of different ones tells them."""
    num_different = data.draw(st.integers(2, 11))
    words = data.draw(st.lists(st.sampled_from([f"word{n}" for n in range(num_different)]), min_size=25, max_size=35))
    assert has_loop(" ".join(words), "x") == too_often(tuple(words), OF_WORDS, OF_TEXT)


def test_a_source_that_repeats_something_allows_it_as_often():
    letters = {"no": 2, ",": 0, "very": 4}
    measures = Measures(letters.__getitem__, len)
    assert limits_after([], measures) == RepetitionLimits(3, 2, 1)
    four = limits_after(["no", ",", "no", ",", "no", ",", "no"], measures)
    assert four == RepetitionLimits(4, 4, 4, may_chain=True)
    assert limits_after(["very", ",", "very"], measures) == RepetitionLimits(3, 2, 2)
    assert limits_after(["very", "no", "no", "very"], measures) == RepetitionLimits(3, 2, 1)
    assert limits_after(["a", "b", "b", "a", "b", "a"], OF_WORDS).may_chain


def test_lines_of_any_length_take_a_time_in_proportion():
    texts = ["one two three four five six " * 300, "wonderful " * 1800, "the man saw the dog and then " * 250]
    for text in texts:
        begin = time.process_time()
        assert has_loop(text, "x")
        assert not has_loop(text, text)
        assert not has_loop(" ".join(f"{text[:20]}{number}" for number in range(2000)), text)
        assert time.process_time() - begin < 5
