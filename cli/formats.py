"""Formats of what is translated and of its translations: one line in, one line (or N best) out.

A line that cannot be read as its format demands is answered too, with an empty translation, so that line n of
the output always belongs to line n of the input; `mtmoe translate` tells of it and ends with status 1.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mtmoe.inference.requests import Request

if TYPE_CHECKING:
    from mtmoe.inference.translator import Translation

# Escaped, so that the output is UTF-8 and no reader takes them for line ends.
_ESCAPED = re.compile("[\ud800-\udfff\x85\u2028\u2029]")


class Question(NamedTuple):
    """A line of the input, understood."""

    request: Request
    kept: Any = None
    """What the format carries from the line into the answer."""
    problem: str = ""
    """Why there is nothing to translate in the line, if it could not be read."""


class Format(Protocol):
    """How a line is read and answered."""

    @property
    def with_scores(self) -> bool:
        """Whether numbers are written that ``mtmoe score`` would give, too."""

    def read(self, line: str, number: int) -> Question:
        """``line`` without its line end; ``number`` from 0."""

    def write(self, question: Question, translation: Translation) -> str:
        """The answer, with its line ends."""


class Columns(NamedTuple):
    """What is written of a translation besides its text."""

    with_scores: bool = False
    with_alignment: bool = False
    numbered: bool = False

    def of(self, number: int, translation: Translation) -> Iterator[list[str]]:
        """Columns of the best translation and its alternatives."""
        from mtmoe.inference.text.word_alignment import pharaoh

        for found in (translation, *translation.alternatives):
            columns = [str(number + 1)] if self.numbered else []
            if self.with_scores:
                columns += [f"{found.score:.6f}", f"{found.log_probability:.6f}"]
            columns.append(found.text)
            if self.with_alignment:
                columns.append(pharaoh(found.alignment))
            yield columns


class TextFormat:
    """One source sentence a line; a line of the answer has one column, or several with tabs between."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self.with_scores = columns.with_scores

    def read(self, line: str, number: int) -> Question:
        return Question(Request(line, number=number))

    def write(self, question: Question, translation: Translation) -> str:
        rows = self._columns.of(question.request.number, translation)
        return "".join("\t".join(row) + "\n" for row in rows)


class TsvFormat:
    """Columns with tabs between; the answer has those of the line, and then its own."""

    def __init__(self, column: int, columns: Columns, *, prefix_column: int | None = None) -> None:
        """``column``: of the source sentence, from 1; ``prefix_column``: of how its translation must begin."""
        self._column = column
        self._columns = columns
        self.with_scores = columns.with_scores
        self._prefix_column = prefix_column

    def read(self, line: str, number: int) -> Question:
        cells = line.split("\t")
        last = max(self._column, self._prefix_column or 0)
        if len(cells) < last:
            problem = f"there is no column {last}, only {len(cells)}"
            return Question(Request("", number=number), line, problem)
        prefix = cells[self._prefix_column - 1] if self._prefix_column else ""
        return Question(Request(cells[self._column - 1], prefix, number=number), line)

    def write(self, question: Question, translation: Translation) -> str:
        rows = self._columns.of(question.request.number, translation)
        return "".join("\t".join([question.kept, *row]) + "\n" for row in rows)


class JsonFormat:
    """One JSON object a line. Its other fields are in the answer too; those of the answer replace their like."""

    with_scores = True

    def __init__(
        self, *, with_alignment: bool = False, with_alternatives: bool = False, with_terms: bool = False
    ) -> None:
        self._with_alignment = with_alignment
        self._with_terms = with_terms
        self._with_alternatives = with_alternatives

    def read(self, line: str, number: int) -> Question:
        try:
            fields = json.loads(line, parse_constant=_not_json, parse_float=_finite)
        except (ValueError, RecursionError) as error:
            return Question(Request("", number=number), {}, f"not a JSON object: {error}")
        if not isinstance(fields, dict):
            return Question(Request("", number=number), {}, f"not a JSON object, but {type(fields).__name__}")
        problem = _problem_of(fields)
        if problem:
            return Question(Request("", number=number), fields, problem)
        phrases = tuple(fields.get("phrases", ()))
        return Question(Request(fields["text"], fields.get("prefix", ""), phrases, number), fields)

    def write(self, question: Question, translation: Translation) -> str:
        problems = [question.problem] if question.problem else []
        answer = {**question.kept, **self._fields(translation)}
        if self._with_alternatives:
            answer["alternatives"] = [self._fields(other) for other in translation.alternatives]
        answer["warnings"] = [*problems, *translation.warnings]
        text = json.dumps(answer, ensure_ascii=False, allow_nan=False)
        return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"

    def _fields(self, translation: Translation) -> dict[str, Any]:
        fields = {
            "translation": translation.text,
            "score": round(translation.score, 6),
            "log_probability": round(translation.log_probability, 6),
            "tokens": translation.tokens,
            "token_log_probabilities": [round(p, 6) for p in translation.token_log_probabilities],
        }
        if translation.score_parts:
            fields["score_parts"] = [
                {"name": part.name, "weight": part.weight, "value": round(part.value, 6)}
                for part in translation.score_parts
            ]
        if self._with_alignment:
            fields["alignment"] = translation.alignment
        if self._with_terms:
            fields["terms"] = [term._asdict() for term in translation.terms]
        return fields


def _problem_of(fields: dict[str, Any]) -> str:
    """What is wrong with the fields that are for this command; empty if nothing."""
    if "text" not in fields:
        return 'there is no field "text"'
    for name in ("text", "prefix"):
        if not isinstance(fields.get(name, ""), str):
            return f'"{name}" must be a string, found {json.dumps(fields[name])[:40]}'
    phrases = fields.get("phrases", [])
    if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in phrases):
        return f'"phrases" must be a list of strings, found {json.dumps(phrases)[:40]}'
    return ""


def _not_json(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits} is too large a number")
    return number
