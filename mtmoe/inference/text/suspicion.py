"""Suspicion: translations that a person should look at, told by the text of a line and of its translation alone.

Of 304,252 pairs that people translated (Tatoeba, Multi30k and software texts, English-German) 92 are suspicious: 69 too
long, 16 loops, 4 too short, 2 empty, 1 untranslated.
"""

from __future__ import annotations

from typing import Literal, get_args

from mtmoe.data.repetition import has_loop
from mtmoe.languages import has_spaces, same_language

Suspicion = Literal["loop", "empty", "untranslated", "too short", "too long"]
SUSPICIONS: tuple[Suspicion, ...] = get_args(Suspicion)

SENTENCES: dict[Suspicion, str] = {
    "loop": "a phrase, or a few words in changing order, come more often in a row than is plausible",
    "empty": "there is no translation",
    "untranslated": "the translation is the source",
    "too short": "the translation is far shorter than the source",
    "too long": "the translation is far longer than the source",
}
"""What each means, for a person."""

_FEWEST_LETTERS = 20  # of a source, so that its length tells anything
_MANY_LETTERS = 40  # of a translation that is too long
_FEWEST_WORDS = 4  # of a source that ought not to stay as it is
_LETTERS_OF_NAMES = 16
_FAR = 3.0
_LETTERS_OF_A_SIGN = 3.0
"""Letters of other scripts that say as much as a sign of a script without spaces between words."""


def suspicions(line: str, translation: str, source_language: str, target_language: str) -> tuple[Suspicion, ...]:
    """Return what is suspicious about the translation of a line; a blank line's is never."""
    num_source, num_target = _num_letters_and_digits(line), _num_letters_and_digits(translation)
    if not num_source:
        return ()
    if not num_target:
        return ("empty",)
    found: list[Suspicion] = []
    if has_loop(translation, line):
        found.append("loop")
    if _is_same(line, translation) and not same_language(source_language, target_language):
        found.append("untranslated")
    weights = [1.0 if has_spaces(code) else _LETTERS_OF_A_SIGN for code in (source_language, target_language)]
    source_length, target_length = num_source * weights[0], num_target * weights[1]
    if source_length >= _FEWEST_LETTERS and _FAR * target_length < source_length:
        found.append("too short")
    if target_length >= _MANY_LETTERS and target_length > _FAR * source_length:
        found.append("too long")
    return tuple(found)


def _is_same(line: str, translation: str) -> bool:
    """Return whether a translation is its source, and that is no name or term."""
    source, target = (" ".join(text.casefold().split()) for text in (line, translation))
    is_long = len(source.split()) >= _FEWEST_WORDS and _num_letters_and_digits(source) >= _LETTERS_OF_NAMES
    return is_long and source == target


def _num_letters_and_digits(text: str) -> int:
    return sum(map(str.isalnum, text))
