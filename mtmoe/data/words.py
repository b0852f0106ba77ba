"""Words of a text in any script: for comparing what is said, not for counting.

Between spaces and signs a word is what stands together. In scripts without spaces it is a letter, with its marks.
"""

from __future__ import annotations

import regex

_WITHOUT_SPACES = r"""[\p{Han}\p{Hiragana}\p{Katakana}\u30fc\uff70\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}
    \p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Tham}\p{Tai_Viet}\p{Ahom}\p{Tibetan}\p{Yi}\p{Nushu}\p{Tangut}\p{Javanese}\p{Balinese}
    \p{Batak}\p{Buginese}]"""
_ALONE = rf"(?:(?={_WITHOUT_SPACES})\w\p{{M}}*+)"
_WORD = regex.compile(rf"{_ALONE} | (?:(?!{_WITHOUT_SPACES})\w)++", regex.VERBOSE)
_LETTER_ALONE = regex.compile(_ALONE, regex.VERBOSE)
_STANDS_ALONE = regex.compile(rf"(?={_WITHOUT_SPACES})\w", regex.VERBOSE)
_OF_WORD = regex.compile(r"\w")
_HAN = regex.compile(r"\p{Han}")


def words_of(text: str) -> list[str]:
    """Return the words of a text, without the signs and spaces between them."""
    found: list[str] = _WORD.findall(text)
    return found


def set_apart(text: str) -> str:
    """Return a text with spaces around each letter, with its marks, of a script without spaces."""
    apart: str = _LETTER_ALONE.sub(r" \g<0> ", text)
    return apart


def is_of_word(character: str) -> bool:
    """Return whether a character, or the first of several, belongs to a word."""
    return _OF_WORD.match(character) is not None


def stands_alone(word: str) -> bool:
    """Return whether a word is a letter of a script without spaces, which nothing goes on with."""
    return _STANDS_ALONE.match(word) is not None


def num_alphanumerics(text: str) -> int:
    """Return how many letters and digits a text has; a Chinese character counts as two, as it says about as much."""
    return sum(map(str.isalnum, text)) + (0 if text.isascii() else len(_HAN.findall(text)))
