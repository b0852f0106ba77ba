"""What is read from a line and what is answered, format by format."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtmoe.inference.files.line_formats import FormatOptions, JsonFormat, TextFormat, TsvFormat
from mtmoe.inference.requests import Request
from mtmoe.inference.translation import Translation

OTHER = Translation("Der Hund", -2.0, -3.0, 2, ("▁Der", "</s>"), (-1.0, -2.0), ((0, 0),))
BEST = Translation(
    "Ein Hund", -1.23456789, -1.5, 2, ("▁Ein", "</s>"), (-0.5, -1.0), ((0, 0), (2, 1)), ("cut off",), (OTHER,)
)


def _answer(format_: JsonFormat, line: str, translation: Translation = BEST) -> dict[str, Any]:
    text = format_.write(format_.read(line, 4), translation)
    assert text.count("\n") == 1 == len(text.splitlines())
    return json.loads(text)


def test_text_has_the_columns_that_were_asked_for() -> None:
    best = BEST._replace(alternatives=())

    def write(options: FormatOptions) -> str:
        format_ = TextFormat(options)
        return format_.write(format_.read("A dog", 4), best)

    assert write(FormatOptions()) == "Ein Hund\n"
    assert write(FormatOptions(with_scores=True)) == "-1.234568\t-1.500000\tEin Hund\n"
    assert write(FormatOptions(with_alignment=True)) == "Ein Hund\t0-0 2-1\n"
    assert write(FormatOptions(True, True, num_best=1)) == "5\t-1.234568\t-1.500000\tEin Hund\t0-0 2-1\n"


def test_every_alternative_has_a_line_with_the_number_of_its_source() -> None:
    format_ = TextFormat(FormatOptions(num_best=2))
    answer = format_.write(format_.read("A dog", 4), BEST)
    assert answer == "5\t-1.234568\t-1.500000\tEin Hund\n5\t-2.000000\t-3.000000\tDer Hund\n"


def test_a_tab_is_white_space_in_text_and_ends_a_column_in_tsv() -> None:
    assert TextFormat().read("a\tb", 0).request == Request("a\tb")
    assert TsvFormat(FormatOptions(column=2)).read("a\tb", 3).request == Request("b", number=3)


def test_the_answer_of_tsv_has_the_columns_of_the_line_first() -> None:
    format_ = TsvFormat(FormatOptions(with_alignment=True, column=2))
    question = format_.read("id7\tA dog\t", 0)
    assert format_.write(question, BEST._replace(alternatives=())) == "id7\tA dog\t\tEin Hund\t0-0 2-1\n"


def test_a_line_with_too_few_columns_is_answered_with_an_empty_translation() -> None:
    format_ = TsvFormat(FormatOptions(column=3))
    question = format_.read("a\tb", 0)
    assert (question.request.text, question.problem) == ("", "there is no column 3, only 2")
    assert format_.write(question, Translation("")) == "a\tb\t\n"


def test_a_column_of_tsv_says_how_the_translation_begins() -> None:
    format_ = TsvFormat(FormatOptions(prefix_column=3))
    assert format_.read("a dog\tx\tEin", 3).request == Request("a dog", "Ein", number=3)
    assert format_.read("a dog\tx", 3).problem == "there is no column 3, only 2"


def test_json_says_everything_and_carries_unknown_fields_through() -> None:
    format_ = JsonFormat(FormatOptions(with_alignment=True, num_best=2))
    line = '{"id": [1, {"x": null}], "text": "A dog", "score": "old"}'
    alternative = {
        "translation": "Der Hund", "score": -2.0, "log_probability": -3.0, "tokens": ["▁Der", "</s>"],
        "token_log_probabilities": [-1.0, -2.0], "alignment": [[0, 0]],
    }  # fmt: skip
    assert _answer(format_, line) == {
        "id": [1, {"x": None}], "text": "A dog", "translation": "Ein Hund", "score": -1.234568,
        "log_probability": -1.5, "tokens": ["▁Ein", "</s>"], "token_log_probabilities": [-0.5, -1.0],
        "alignment": [[0, 0], [2, 1]], "alternatives": [alternative], "warnings": ["cut off"],
    }  # fmt: skip
    assert {"alignment", "alternatives"}.isdisjoint(_answer(JsonFormat(), line))


def test_json_can_ask_for_a_prefix_and_phrases() -> None:
    question = JsonFormat().read('{"text": "a", "prefix": "b", "phrases": ["c d", "e"]}', 9)
    assert question.request == Request("a", "b", ("c d", "e"), 9)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("A dog", "not a JSON object: Expecting value"),
        ("", "not a JSON object: Expecting value"),
        ('"A dog"', "not a JSON object, but str"),
        ('{"test": "A dog"}', 'there is no field "text"'),
        ('{"text": 7}', '"text" must be a string, found 7'),
        ('{"text": "a", "prefix": null}', '"prefix" must be a string, found null'),
        ('{"text": "a", "phrases": "b"}', '"phrases" must be a list of strings, found "b"'),
        ('{"text": "a", "phrases": [1]}', '"phrases" must be a list of strings, found [1]'),
        ('{"text": "a", "x": NaN}', "not a JSON object: NaN is no JSON"),
        ('{"text": "a", "x": 1e999}', "not a JSON object: 1e999 is too large a number"),
        ('{"text": "a", "x": ' + "[" * 100_000, "not a JSON object: "),
    ],
)
def test_a_line_that_is_not_what_json_asks_for_is_answered_with_the_problem(line: str, problem: str) -> None:
    format_ = JsonFormat()
    question = format_.read(line, 0)
    assert question.problem.startswith(problem)
    answer = json.loads(format_.write(question, Translation("")))
    assert answer["translation"] == ""
    assert answer["warnings"] == [question.problem]


# Tests that train set the processor to flush subnormal numbers to zero, which hypothesis refuses to go on with.
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text().map("x".__add__), JSON_VALUES, max_size=3), st.text())
def test_any_json_comes_back_on_one_line_of_utf8(fields: dict[str, Any], text: str) -> None:
    answered = JsonFormat()
    written = answered.write(answered.read(json.dumps({**fields, "text": text}), 0), BEST)
    assert len(written.splitlines()) == 1
    found = json.loads(written.encode("utf-8"))
    assert {name: found[name] for name in fields} == fields
    assert found["text"] == text


def test_a_lone_surrogate_in_json_stays_an_escape() -> None:
    answer = JsonFormat().write(JsonFormat().read('{"text": "a\\ud800", "x": "\\u2028"}', 0), BEST)
    assert '"a\\ud800"' in answer
    assert '"\\u2028"' in answer
    answer.encode("utf-8")
