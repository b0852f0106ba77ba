"""Lines in capitals or in Title Case: read as if they were written in the usual way.

A model knows the subwords of usual text. Capitals are spelt letter by letter, and what it makes of them has little to
do with what they say. So a line in capitals is translated in small letters, and its translation is put in capitals; a
line in Title Case is translated in small letters. Addresses, placeholders and tags stay as they are.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from mtmoe.config.settings import Data
from mtmoe.data.cleaning.language_tokens import language_tokens, tokened
from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.data.perturbations.items import outside_items
from mtmoe.data.perturbations.letter_case import lower_case, title_case, upper_case
from mtmoe.inference.requests import Request
from mtmoe.inference.text.lines import language_of_line
from mtmoe.inference.translation import Translation
from mtmoe.languages import normal_code

_FEWEST_WORDS_IN_CAPITALS = 2  # one alone may be an acronym
_FEWEST_WORDS_IN_TITLE_CASE = 4  # fewer may be a name
_SENTENCE_BEGIN = re.compile(r"(?:^|(?<=[.!?…] ))\S+")
_ENGLISH_I = re.compile(r"\bi\b")


class CaseOfLine(NamedTuple):
    """A line as it is translated, and in which language its translation is to be put in capitals."""

    request: Request
    capitals: str | None = None
    """Code of the language; None: the translation stays as it is."""


def in_usual_case(request: Request, data: Data) -> CaseOfLine:
    """Return a line in small letters, with a capital at the beginning of each sentence, if it is in capitals (two words
    of two letters or more) or in Title Case (four words or more); else as it is.

    A line with a prefix or phrases is left as it is, for they are in the case that somebody wants.

    Args:
        data: of the recipe; tells the languages.
    """
    if request.prefix or request.phrases:
        return CaseOfLine(request)
    token, text = tokened(normalise_line(request.text), language_tokens(data))
    words = _words(text)
    is_in_capitals = _is_in_capitals(words)
    if not is_in_capitals and not _is_in_title_case(words):
        return CaseOfLine(request)
    language = "" if data.multilingual is not None else data.source_language
    small = outside_items(text, lambda part: _small(part, language, keeps_acronyms=not is_in_capitals))
    usual = _SENTENCE_BEGIN.sub(lambda match: title_case(match[0], language), small)
    target = language_of_line(f"{token} {text}".strip(), data)
    return CaseOfLine(request._replace(text=f"{token} {usual}".strip()), target if is_in_capitals else None)


def in_case_of_line(translation: Translation, line: CaseOfLine) -> Translation:
    """Return a translation, and its alternatives, in capitals where their line is."""
    if line.capitals is None:
        return translation
    language = line.capitals
    alternatives = (other._replace(text=upper_case(other.text, language)) for other in translation.alternatives)
    return translation._replace(text=upper_case(translation.text, language), alternatives=tuple(alternatives))


def _words(text: str) -> list[str]:
    """Return the letters of each word outside of addresses, placeholders and tags; words without letters are none."""
    parts: list[str] = []
    outside_items(text, lambda part: parts.append(part) or part)  # type: ignore[func-returns-value]
    words = ("".join(filter(str.isalpha, word)) for part in parts for word in part.split())
    return [word for word in words if word]


def _is_in_capitals(words: list[str]) -> bool:
    return all(map(str.isupper, words)) and sum(len(word) > 1 for word in words) >= _FEWEST_WORDS_IN_CAPITALS


def _is_in_title_case(words: list[str]) -> bool:
    return len(words) >= _FEWEST_WORDS_IN_TITLE_CASE and all(word[0].isupper() for word in words)


def _small(text: str, language: str, *, keeps_acronyms: bool) -> str:
    """Return the text in small letters, but for the English "I", and for words with further capitals if these stay."""
    words = text.split(" ")
    small = [
        word if keeps_acronyms and any(map(str.isupper, word[1:])) else lower_case(word, language) for word in words
    ]
    joined = " ".join(small)
    return _ENGLISH_I.sub("I", joined) if normal_code(language or "und").partition("-")[0] == "en" else joined
