"""Strings of programs and tables: lines of text that may have tags of HTML in them, each line a segment."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from mtmoe.documents.document import Skeleton
from mtmoe.documents.formats.html import MARKUP, VOID
from mtmoe.documents.tokens import Token

_LINE_END = re.compile(r"(\r\n|\n|\r)")


def marked_string(text: str, skeleton: Skeleton, escaped: Callable[[str], str] = str) -> str:
    """Return how a string is written, with marks in place of its segments.

    Args:
        escaped: from text to how the format writes it; tags, too.
    """
    text = text.replace("\0", "\ufffd")
    parts = _LINE_END.split(text)
    return "".join(
        escaped(part) if number % 2 else skeleton.mark(list(_tokens(part, escaped)), escaped)
        for number, part in enumerate(parts)
    )


def _tokens(text: str, escaped: Callable[[str], str]) -> Iterator[Token]:
    place = 0
    for match in MARKUP.finditer(text):
        if match.start() > place:
            yield Token("text", text[place : match.start()])
        name = (match["name"] or "").lower()
        is_alone = not name or name in VOID or match[0].endswith("/>")
        kind = "alone" if is_alone else "close" if match["close"] else "open"
        yield Token(kind, escaped(match[0]), name, is_shown=name == "img")  # type: ignore[arg-type]
        place = match.end()
    if place < len(text):
        yield Token("text", text[place:])
