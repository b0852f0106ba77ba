"""The punctuation that ends a sentence, and text without it."""

from __future__ import annotations

from typing import NamedTuple

import regex

_OF_ENDING = regex.compile(r"[\p{Sentence_Terminal}…\s]")


class Ending(NamedTuple):
    """A sentence in two."""

    body: str
    mark: str
    """What ends it, with white space before it ("... où ?"); empty if nothing does."""


def ending_of(text: str) -> Ending:
    """Divide a sentence into what it says and the marks that end it, of any script (Unicode's Sentence_Terminal)."""
    end = len(text)
    while end and _OF_ENDING.fullmatch(text, end - 1, end):
        end -= 1
    return Ending(text[:end], text[end:])


def without_end_punctuation(text: str) -> str:
    """Return the text without the marks that end it; as it is if there would be nothing left."""
    return ending_of(text).body or text
