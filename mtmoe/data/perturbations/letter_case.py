"""Capitals, small letters and Title Case, by Unicode's full mappings (those of ``str``) and two languages' own rules.

"ß" becomes "SS", "ﬁ" becomes "FI"; a small sigma at the end of a word is "ς". Text in a script without case stays as it
is, as do addresses, placeholders and tags: they mean something else in another case. Beyond ``str``:

- Turkish and Azerbaijani have i with and without a dot: "i" and "İ" are a pair, "ı" and "I" another.
- Greek capitals have no accent (tonos): "ός" becomes "ΟΣ".

Not done: the Dutch digraph ("IJs" in Title Case), and Lithuanian dots above accents.
"""

from __future__ import annotations

import unicodedata

from mtmoe.data.perturbations.items import outside_items
from mtmoe.languages import normal_code

_DOTTED_CAPITAL, _DOTLESS_SMALL = "\u0130", "\u0131"
_TONOS = "\u0301"


def upper_case(text: str, language: str = "") -> str:
    """Return the text in capitals.

    Args:
        language: code of its language; one that is not known, or none, has the rules of Unicode alone.
    """
    return outside_items(text, lambda part: _upper(part, language))


def lower_case(text: str, language: str = "") -> str:
    """Return the text in small letters; ``language`` as for :func:`upper_case`."""
    return outside_items(text, lambda part: _lower(part, language))


def title_case(text: str, language: str = "") -> str:
    """Return the text with the first letter of every word (between spaces) capitalised, and all others as they are.

    ``language`` as for :func:`upper_case`.
    """
    return outside_items(text, lambda part: " ".join(_capitalised(word, language) for word in part.split(" ")))


def _upper(text: str, language: str) -> str:
    if _has_two_i(language):
        text = text.replace("i", _DOTTED_CAPITAL)  # "ı" becomes "I" as it is
    capitals = text.upper()
    return _without_tonos(capitals) if _base(language) == "el" else capitals


def _lower(text: str, language: str) -> str:
    if _has_two_i(language):
        text = text.replace(_DOTTED_CAPITAL, "i").replace("I", _DOTLESS_SMALL)
    return text.lower()


def _capitalised(word: str, language: str) -> str:
    place = next((place for place, letter in enumerate(word) if letter.isalpha()), None)
    if place is None or not word[place].islower():
        return word
    first = _DOTTED_CAPITAL if word[place] == "i" and _has_two_i(language) else word[place].title()
    return word[:place] + first + word[place + 1 :]


def _without_tonos(capitals: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", capitals).replace(_TONOS, ""))


def _has_two_i(language: str) -> bool:
    return _base(language) in ("tr", "az")


def _base(language: str) -> str:
    return normal_code(language).partition("-")[0] if language else ""
