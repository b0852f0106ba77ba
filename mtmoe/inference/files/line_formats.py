"""Line formats of what is translated and of its translations: one line in, one line (or N best) out.

A format is one class with one entry in :data:`LINE_FORMATS`. A line that cannot be read as its format demands is
answered too, with an empty translation, so that line n of the output always belongs to line n of the input.
"""

from __future__ import annotations

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from mtmoe.inference.requests import Request

if TYPE_CHECKING:
    from mtmoe.inference.text.suspicion import Suspicion
    from mtmoe.inference.translation import Translation

# Escaped, so that the output is UTF-8 and no reader takes them for line ends.
_ESCAPED = re.compile("[\ud800-\udfff\x85\u2028\u2029]")


class ParsedLine(NamedTuple):
    """A line of the input as its format reads it."""

    request: Request
    carried: Any = None
    """What the format carries from the line into the answer."""
    problem: str = ""
    """Why there is nothing to translate in the line, if it could not be read."""


class FormatOptions(NamedTuple):
    """What a format reads of a line, and what it writes of a translation besides its text."""

    with_scores: bool = False
    """Score and log-probability. In JSON they are always there."""
    with_alignment: bool = False
    """Links from words of the source to words of the translation."""
    with_terms: bool = False
    """The terms of the source, and whether the translation has them. In JSON only."""
    num_best: int | None = None
    """Translations of each line, with their scores; by default the best alone, without."""
    column: int | None = None
    """Of the source sentence, from 1, where lines have columns."""
    prefix_column: int | None = None
    """Of how the translation must begin, from 1, where lines have columns."""


_DEFAULTS = FormatOptions()


class LineFormat(ABC):
    """How a line is read and answered."""

    name: ClassVar[str]
    has_columns: ClassVar[bool] = False
    """Whether a line of the input has columns, of which one is the source."""

    def __init__(self, options: FormatOptions = _DEFAULTS) -> None:
        """
        Raises:
            ValueError: a column is named, but lines of this format have none.
        """
        if not self.has_columns and (options.column or options.prefix_column):
            raise ValueError(f"lines of the format {self.name} have no columns to choose from")
        self.options = options._replace(column=options.column or 1 if self.has_columns else None)

    @property
    def with_scores(self) -> bool:
        """Return whether numbers are written that ``mtmoe score`` would give, too."""
        return self.options.with_scores or self.options.num_best is not None

    def identity(self) -> dict[str, Any]:
        """Return what the bytes of an answer depend on besides the translation, as JSON can say it."""
        options = self.options
        prefix = {"prefix_column": options.prefix_column} if options.prefix_column else {}
        return {
            "format": self.name, "column": options.column, "nbest": options.num_best,
            "scores": options.with_scores or options.num_best is not None, **prefix,
            "alignment": options.with_alignment,
        }  # fmt: skip

    @abstractmethod
    def read(self, line: str, number: int) -> ParsedLine:
        """Read a line without its line end; ``number`` counts from 0."""

    @abstractmethod
    def write(self, line: ParsedLine, translation: Translation) -> str:
        """Return the answer to a line, with its line ends."""

    def _rows(self, number: int | None, translation: Translation) -> Iterator[list[str]]:
        """Yield the columns of the best translation and of each alternative; the number, if any, is the first."""
        from mtmoe.inference.text.word_alignment import pharaoh

        for found in (translation, *translation.alternatives):
            columns = [] if number is None else [str(number + 1)]
            if self.with_scores:
                columns += [f"{found.score:.6f}", f"{found.log_probability:.6f}"]
            columns.append(found.text)
            if self.options.with_alignment:
                columns.append(pharaoh(found.alignment))
            yield columns


class TextFormat(LineFormat):
    """One source sentence a line; a line of the answer has one column, or several with tabs between."""

    name = "text"

    def read(self, line: str, number: int) -> ParsedLine:
        return ParsedLine(Request(line, number=number))

    def write(self, line: ParsedLine, translation: Translation) -> str:
        number = None if self.options.num_best is None else line.request.number
        return "".join("\t".join(row) + "\n" for row in self._rows(number, translation))


class TsvFormat(LineFormat):
    """Columns with tabs between; the answer has those of the line, and then its own."""

    name = "tsv"
    has_columns = True

    def read(self, line: str, number: int) -> ParsedLine:
        cells = line.split("\t")
        column, prefix_column = self.options.column or 1, self.options.prefix_column or 0
        last = max(column, prefix_column)
        if len(cells) < last:
            problem = f"there is no column {last}, only {len(cells)}"
            return ParsedLine(Request("", number=number), line, problem)
        prefix = cells[prefix_column - 1] if prefix_column else ""
        return ParsedLine(Request(cells[column - 1], prefix, number=number), line)

    def write(self, line: ParsedLine, translation: Translation) -> str:
        return "".join("\t".join([line.carried, *row]) + "\n" for row in self._rows(None, translation))


class JsonFormat(LineFormat):
    """One JSON object a line. Its other fields are in the answer too; those of the answer replace their like."""

    name = "json"

    @property
    def with_scores(self) -> bool:
        return True

    def read(self, line: str, number: int) -> ParsedLine:
        try:
            fields = json.loads(line, parse_constant=_not_json, parse_float=_finite)
        except (ValueError, RecursionError) as error:
            return ParsedLine(Request("", number=number), {}, f"not a JSON object: {error}")
        if not isinstance(fields, dict):
            return ParsedLine(Request("", number=number), {}, f"not a JSON object, but {type(fields).__name__}")
        problem = _problem_of(fields)
        if problem:
            return ParsedLine(Request("", number=number), fields, problem)
        phrases = tuple(fields.get("phrases", ()))
        return ParsedLine(Request(fields["text"], fields.get("prefix", ""), phrases, number), fields)

    def write(self, line: ParsedLine, translation: Translation) -> str:
        problems = [line.problem] if line.problem else []
        answer = {**line.carried, **self._fields(translation)}
        if self.options.num_best is not None:
            answer["alternatives"] = [self._fields(other) for other in translation.alternatives]
        if translation.corrections:
            answer["corrections"] = [correction._asdict() for correction in translation.corrections]
        answer["warnings"] = [*problems, *translation.warnings, *_in_words(translation.suspicions)]
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
        if translation.confidence is not None:
            fields["confidence"] = round(translation.confidence, 6)
        if translation.expected_utility is not None:
            fields["expected_utility"] = translation.expected_utility
        if translation.score_parts:
            fields["score_parts"] = [
                {"name": part.name, "weight": part.weight, "value": round(part.value, 6)}
                for part in translation.score_parts
            ]
        if self.options.with_alignment:
            fields["alignment"] = translation.alignment
        if self.options.with_terms:
            fields["terms"] = [term._asdict() for term in translation.terms]
        return fields


def _in_words(suspicions: Sequence[Suspicion]) -> list[str]:
    """Return the suspicions of a translation as warnings: kind and sentence."""
    from mtmoe.inference.text.suspicion import SENTENCES

    return [f"{kind}: {SENTENCES[kind]}" for kind in suspicions]


LINE_FORMATS: dict[str, type[LineFormat]] = {format.name: format for format in (TextFormat, JsonFormat, TsvFormat)}
"""All formats by name: what ``mtmoe translate --format`` offers."""


def _problem_of(fields: dict[str, Any]) -> str:
    """Return what is wrong with the fields that a request is made of; empty if nothing."""
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
