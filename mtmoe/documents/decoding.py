"""Decoding of text files: UTF-8, or UTF-16 with its mark; what else it may be is no guess of ours."""

from __future__ import annotations

import codecs
from typing import NamedTuple

from mtmoe.errors import UserError

_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class DecodedText(NamedTuple):
    """A text, and how it was encoded."""

    text: str
    encoding: str
    mark: bytes

    def encoded(self, text: str) -> bytes:
        """Return another text in the same way; what the encoding lacks as references, which HTML and XML know."""
        return self.mark + text.encode(self.encoding, "xmlcharrefreplace")


def decode_text(content: bytes, name: str, encoding: str = "utf-8") -> DecodedText:
    """Return the text of a file.

    Args:
        encoding: that the file says it has, where formats say it.

    Raises:
        UserError: it is of another encoding, or no text.
    """
    mark = next((mark for mark in _MARKS if content.startswith(mark)), b"")
    encoding = _MARKS.get(mark, encoding)
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{name}:{line}: is not {encoding}", fix="save it as UTF-8: iconv -f ITS_ENCODING -t UTF-8"
        ) from None
    except LookupError:
        raise UserError(
            f"{name}: says that its encoding is {encoding}, which is unknown", fix="save it as UTF-8"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{name}:{line}: has a zero byte, so that it is no text", fix="name its format with --format")
    return DecodedText(text, encoding, mark)
