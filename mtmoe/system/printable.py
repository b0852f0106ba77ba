"""Text from outside (file names, keys, lines), made harmless for a terminal."""

from __future__ import annotations

import unicodedata

_CONTROL_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_WANTED = {"\n", "\t", "\u200c", "\u200d"}  # the joiners are part of the spelling of some languages


def printable(text: str) -> str:
    """Return the text with every character that could steer a terminal, or hide something, as its escape: ``\\x1b``.

    Line feeds and tabs stay. Bytes that were no text (surrogate escapes of file names) become ``\\xff`` and the like.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if _is_unwanted(c) else c for c in text)


def _is_unwanted(character: str) -> bool:
    return unicodedata.category(character) in _CONTROL_CATEGORIES and character not in _WANTED


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that os.fsdecode could not read
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
