"""Dictionaries: which words a language has, also those that a training text lacks.

They are those of pyspellchecker (MIT licence, 12 languages, 7 MB, no dependencies). One is read when it is first asked.
"""

from __future__ import annotations

from collections.abc import Container
from functools import cache

from mtmoe.languages import normal_code

LANGUAGES = frozenset({"ar", "de", "en", "es", "eu", "fa", "fr", "it", "lv", "nl", "pt", "ru"})
"""Those of the library; asking it would take a tenth of a second."""


def has_dictionary(language: str) -> bool:
    """Return whether there is a dictionary of a language."""
    return _base(language) in LANGUAGES


@cache
def dictionary_of(language: str) -> Container[str]:
    """Return the words of a language, in small letters (0.1 to 1 second, 10 to 50 MB)."""
    from spellchecker import SpellChecker  # takes a tenth of a second, and most lines never need it

    return frozenset(SpellChecker(language=_base(language), distance=1).word_frequency.dictionary)


def _base(language: str) -> str:
    return normal_code(language).partition("-")[0]
