"""The two fields of a table, of JSON lines or of a data set that hold a sentence and its translation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mtmoe.corpus_survey.language_identification import base_code, identifiable_languages, identify
from mtmoe.errors import UserError
from mtmoe.languages import covers

Row = Mapping[str, str]
"""The text of each field of a row, by the field's name."""

_LEAST_SHARE = 0.9
_LEAST_LETTERS = 0.5
_USUAL_NAMES = (("source", "target"), ("src", "tgt"), ("src", "trg"))


class LanguagePair(NamedTuple):
    """Codes of two languages; empty where one is not known (yet)."""

    source: str
    target: str


class Fields(NamedTuple):
    """Names of two fields, and the languages that these names are codes of."""

    source: str
    target: str
    named: LanguagePair


def choose_fields(rows: Sequence[Row], asked: LanguagePair, where: str, *, named_by_language: bool = True) -> Fields:
    """Choose by names that are language codes, else by usual names, else by the languages of the text.

    Args:
        rows: the first rows.
        asked: languages that were asked for.
        where: the file, for messages.
        named_by_language: whether a field's name can be a language's code (it cannot where it is a number).

    Raises:
        UserError: there are not two fields of text, or several pairs of them could be meant.
    """
    fields = _fields_of_text(rows)
    if len(fields) < 2:
        raise UserError(
            f"{where}: has text of one language alone; a translation needs two",
            fix="name a second file, line n of which translates line n of this one, or a file of pairs (TMX, TSV)",
        )
    codes = {name: code for name in fields if named_by_language and (code := _code_in(name))}
    if len(codes) > 2:  # a name that is also something else (id) is none where the text is in another language
        codes = {name: code for name, code in codes.items() if not identify(_texts(rows, name)).excludes(code)}
    if len(codes) >= 2:
        return _by_code(codes, asked, where)
    for source, target in _USUAL_NAMES:
        if source in fields and target in fields:
            return Fields(source, target, LanguagePair("", ""))
    return _by_text(rows, fields, asked, where)


def _fields_of_text(rows: Sequence[Row]) -> list[str]:
    """Return the names of the fields that nearly every row has, with letters in many of them."""
    names = dict.fromkeys(name for row in rows for name in row)
    chosen = []
    for name in names:
        texts = _texts(rows, name)
        with_letters = sum(any(map(str.isalpha, text)) for text in texts)
        if len(texts) >= _LEAST_SHARE * len(rows) and with_letters >= _LEAST_LETTERS * len(texts):
            chosen.append(name)
    return chosen


def _texts(rows: Sequence[Row], name: str) -> list[str]:
    """Return the texts of a field."""
    return [row[name] for row in rows if name in row]


def _code_in(name: str) -> str:
    """Return the language code that is the last part of a name (``en`` of ``translation.en``), or nothing."""
    last = name.rpartition(".")[2]
    return last if 2 <= len(last) <= 8 and base_code(last) in identifiable_languages() else ""


def _by_code(codes: Mapping[str, str], asked: LanguagePair, where: str) -> Fields:
    """Choose among fields that are named by languages, by name."""

    def field_of(wanted: str) -> str:
        for name, code in codes.items():
            if covers(wanted, code) or covers(code, wanted):
                return name
        raise UserError(
            f"{where}: has no text in {wanted!r}; its languages: {', '.join(codes.values())}",
            fix="choose two of them with --source and --target",
        )

    chosen = [field_of(code) if code else "" for code in asked]
    left = [name for name in codes if name not in chosen]
    if 0 < chosen.count("") < len(left):
        raise several_languages(where, codes.values())
    source, target = (name or left.pop(0) for name in chosen)
    return Fields(source, target, LanguagePair(asked.source or codes[source], asked.target or codes[target]))


def several_languages(where: str, codes: Iterable[str]) -> UserError:
    """Return the error of a file in more languages than two."""
    return UserError(
        f"{where}: is in several languages: {', '.join(codes)}", fix="choose two of them with --source and --target"
    )


def _by_text(rows: Sequence[Row], fields: Sequence[str], asked: LanguagePair, where: str) -> Fields:
    """Choose the first field and the first after it in another language, or those in the languages asked for."""
    if len(fields) == 2 and not any(asked):
        return Fields(fields[0], fields[1], LanguagePair("", ""))
    found = {name: identify(_texts(rows, name)) for name in fields}
    source = next((name for name in fields if asked.source and found[name].language == base_code(asked.source)), "")
    target = next((name for name in fields if asked.target and found[name].language == base_code(asked.target)), "")
    for name in fields:
        languages = [found[other].language for other in (source, target) if other]
        if name in (source, target) or found[name].language in languages:
            continue
        if not source:
            source = name
        elif not target:
            target = name
    if not (source and target) and len(fields) == 2:  # two that are alike: told of later, with their language
        source, target = fields
    if not (source and target):
        told = ", ".join(f"{name} ({found[name].language})" for name in fields)
        raise UserError(
            f"{where}: no two fields of text are in two languages: {told}",
            fix="give --source and --target, or a file with two fields alone",
        )
    return Fields(source, target, LanguagePair("", ""))
