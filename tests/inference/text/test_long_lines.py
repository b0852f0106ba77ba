"""Long lines are divided where sentences end, and nothing of them is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.inference.text.long_lines import divided, sentences


def by_letters(texts):
    """One subword a character that is no space: easy to count."""
    return [[ord(c) for c in text if c != " "] for text in texts]


@given(st.text(alphabet="abc .,;!?。、A中\u0301", max_size=80), st.integers(1, 12))
def test_parts_have_all_of_the_text_and_are_short_enough(text, longest):
    line = normalise_line(text)
    parts = divided(line, by_letters, longest)
    assert "".join(parts).replace(" ", "") == line.replace(" ", "")
    for part in parts:
        assert part == part.strip() != ""
        [ids] = by_letters([part])
        assert len(ids) <= longest or part[-1:] == "\u0301" or len(part) == 1


def test_a_line_that_is_short_enough_is_left_alone():
    assert divided("One. Two. Three.", by_letters, 14) == ["One. Two. Three."]
    assert divided("", by_letters, 3) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It rains. He stays! Why? Who knows", ["It rains.", "He stays!", "Why?", "Who knows"]),
        ('"Go." He went.', ['"Go."', "He went."]),
        ("Mr. Smith met J. R. Jones at 5 p.m. today, e.g. here. Then he left.", 2),
        ("Am 3. Mai kam er, z.B. zu uns. Er blieb.", ["Am 3. Mai kam er, z.B. zu uns.", "Er blieb."]),
        ("It was in 1999. The year was long.", ["It was in 1999.", "The year was long."]),
        ("pi is 3.14 and so on... but not here", 1),
        ("今天下雨。他在家！为什么？", ["今天下雨。", "他在家！", "为什么？", ""]),
        ("यह एक वाक्य है। यह दूसरा है।", ["यह एक वाक्य है।", "यह दूसरा है।"]),
        ("هل تمطر؟ نعم تمطر.", ["هل تمطر؟", "نعم تمطر."]),
    ],
)
def test_sentences_end_where_they_end(text, expected):
    found = list(sentences(text))
    assert len(found) == expected if isinstance(expected, int) else found == expected


def test_each_sentence_is_a_part_of_its_own():
    assert divided("One is. Two is. Three is.", by_letters, 7) == ["One is.", "Two is.", "Three", "is."]


def test_a_long_sentence_is_divided_at_its_clauses_into_as_few_parts_as_fit():
    text = "aa bb, cc dd, ee ff; gg hh, ii"
    assert divided(text, by_letters, 12) == ["aa bb, cc dd,", "ee ff; gg hh, ii"]
    assert divided(text, by_letters, 11) == ["aa bb, cc dd,", "ee ff; gg hh,", "ii"]


def test_a_long_clause_is_divided_between_words():
    assert divided("aaa bbb ccc ddd", by_letters, 7) == ["aaa bbb", "ccc ddd"]


def test_what_has_no_white_space_is_divided_anyway_and_fast():
    text = "x" * 100_000
    parts = divided(text, by_letters, 400)
    assert "".join(parts) == text
    assert max(map(len, parts)) <= 400
    assert len(parts) <= 2 * 100_000 / 400 + 1


def test_a_mark_stays_with_its_letter():
    assert divided("e\u0301" * 3, by_letters, 4) == ["e\u0301", "e\u0301e\u0301"]
