"""Tokens: a text with inline markup, in pieces; and what is known of a line's translation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol


class Token(NamedTuple):
    """A piece of a text.

    content: of text what a reader sees, without escapes; else the markup as it is written. name: of a tag; a closing
    tag closes the last open one of its name. is_shown: a reader sees something there, such as an image. raw: text as it
    is written.
    """

    kind: Literal["text", "open", "close", "alone"]
    content: str
    name: str = ""
    is_shown: bool = False
    raw: str = ""

    @property
    def has_text(self) -> bool:
        """Return whether it is text, and not white space alone."""
        return self.kind == "text" and bool(self.content.strip())


class Translated(Protocol):
    """The translation of a line. alignment: (word of the line, word of the text), as white space divides them."""

    @property
    def text(self) -> str: ...

    @property
    def alignment(self) -> Sequence[tuple[int, int]]: ...


class LineTranslation(NamedTuple):
    """The translation of a line, where nothing more is known of it."""

    text: str
    alignment: tuple[tuple[int, int], ...] = ()


_MOST_DEPTH = 100


def partners(tokens: Sequence[Token]) -> dict[int, int]:
    """Return the place of the closing tag for that of each opening one; tags that cross others have no partner, nor
    have those that are nested more deeply than anybody means."""
    found: dict[int, int] = {}
    waiting: list[int] = []
    open_names: Counter[str] = Counter()
    for place, token in enumerate(tokens):
        if token.kind == "open" and len(waiting) < _MOST_DEPTH:
            waiting.append(place)
            open_names[token.name] += 1
        elif token.kind == "close" and open_names[token.name]:
            # Those that were opened since and not closed (<br> in old HTML) have no partner.
            while tokens[waiting[-1]].name != token.name:
                open_names[tokens[waiting.pop()].name] -= 1
            open_names[token.name] -= 1
            found[waiting.pop()] = place
    return found
