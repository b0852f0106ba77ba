"""JSON: its strings are translated; keys, numbers and all white space stay."""

from __future__ import annotations

import json
import re
from typing import Any

from mtmoe.documents.decoding import decode_text
from mtmoe.documents.document import Document, DocumentOptions, Skeleton
from mtmoe.documents.tagged_strings import marked_string
from mtmoe.errors import UserError

_KEY = re.compile(r"(?<!\s)\s*+:")
_STRING = re.compile('"')


def read(content: bytes, name: str, options: DocumentOptions) -> Document:
    """Read a file.

    Raises:
        UserError: it is no JSON.
    """
    decoded = decode_text(content, name)
    text = decoded.text
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        what = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        raise UserError(
            f"{name}{where}: is no JSON: {what}", fix="repair it; for an object on each line, say --format json"
        ) from None
    skeleton = Skeleton(options)
    parts: list[str] = []
    place = 0
    while match := _STRING.search(text, place):
        value, end = _scanned(text, match.end())
        raw = text[match.start() : end]
        if not _KEY.match(text, end):
            before = len(skeleton.segments)
            marked = marked_string(value, skeleton, _escaped if raw.isascii() and not value.isascii() else _written)
            raw = f'"{marked}"' if len(skeleton.segments) > before else raw
        parts += [text[place : match.start()], raw]
        place = end
    whole = "".join([*parts, text[place:]])
    return Document(skeleton, lambda fill: decoded.encoded(fill(whole)))


def _scanned(text: str, place: int) -> tuple[str, int]:
    """Return what the string says that begins at a place, and the place behind it."""
    decoder: Any = json.JSONDecoder()
    value, end = decoder.parse_string(text, place, True)
    return value, end


def _written(text: Any) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _escaped(text: Any) -> str:
    """Return a text as files write it that have no letters beyond ASCII."""
    return json.dumps(text)[1:-1]
