"""Normal form of a line: NFC, single plain spaces, no control characters; and what it changes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# Joiners (U+200C, U+200D) are no ornament: they spell Persian words and hold emoji together.
_INVISIBLE = "\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ufff9-\ufffb"
_LINE_SEPARATORS = "\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
_CONTROL = f"\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f{_INVISIBLE}"

_LINE_SEPARATOR = re.compile(f"[{_LINE_SEPARATORS}]")
_CONTROL_CHARACTER = re.compile(f"[{_CONTROL}]")
_TAB = re.compile("[\t\x1f]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def normalise_line(text: str) -> str:
    """Return the form in which text is trained on and translated: one line, NFC, single plain spaces.

    Control characters, byte order marks, soft hyphens, zero-width spaces and direction marks
    vanish; line separators, tabs and every kind of space become a space; runs of them become
    one, and none is left at the ends. Normalising twice changes nothing more.
    """
    if not (text.isascii() and text.isprintable()):
        text = _CONTROL_CHARACTER.sub("", text)
        text = _LONE_SURROGATE.sub("\ufffd", text)
        text = unicodedata.normalize("NFC", text)
    return " ".join(text.split())


CHANGES = ("unicode_nfc", "control_characters", "line_separators", "white_space")
"""Counts of pairs that were changed and kept, if nothing else was wrong; a pair may be in several."""


def changes_of(text: str) -> Iterator[str]:
    """Yield the names of the changes that the normal form makes to the text."""
    if _LINE_SEPARATOR.search(text):
        yield "line_separators"
    if _CONTROL_CHARACTER.search(text) or _TAB.search(text) or _LONE_SURROGATE.search(text):
        yield "control_characters"
    visible = _CONTROL_CHARACTER.sub("", text)
    if not unicodedata.is_normalized("NFC", visible):
        yield "unicode_nfc"
    spaces_only = _LINE_SEPARATOR.sub(" ", _TAB.sub(" ", visible))
    if " ".join(spaces_only.split()) != spaces_only:
        yield "white_space"
