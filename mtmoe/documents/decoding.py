"""Decoding of text files: UTF-8, or UTF-16 with its mark; what else it may be is no guess of ours."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from mtmoe.errors import UserError

_BLOCK_BYTES = 1 << 18
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
        raise _not_decoded(name, content.count(b"\n", 0, error.start), encoding) from None
    except LookupError:
        raise UserError(
            f"{name}: says that its encoding is {encoding}, which is unknown", fix="save it as UTF-8"
        ) from None
    _check_is_text(text, name, 0)
    return DecodedText(text, encoding, mark)


class DecodedStream:
    """A text file that is read bit by bit; its encoding is told as :func:`decode_text` tells it."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self._name = stream, name
        self._beginning = stream.read(_BLOCK_BYTES)
        self._mark = next((mark for mark in _MARKS if self._beginning.startswith(mark)), b"")
        self._encoding = _MARKS.get(self._mark, "utf-8")

    def texts(self) -> Iterator[str]:
        """Yield all of the text, in parts.

        Raises:
            UserError: it is of another encoding, or no text.
        """
        decoder = codecs.getincrementaldecoder(self._encoding)()
        block, num_lines, is_last = self._beginning[len(self._mark) :], 0, False
        while not is_last:
            following = self._stream.read(_BLOCK_BYTES)
            is_last = not following
            try:
                text = decoder.decode(block, final=is_last)
            except UnicodeDecodeError as error:
                num_lines += error.object.count(b"\n", 0, error.start)
                raise _not_decoded(self._name, num_lines, self._encoding) from None
            _check_is_text(text, self._name, num_lines)
            yield text
            num_lines += text.count("\n")
            block = following

    def encoded(self, text: str, *, is_first: bool) -> bytes:
        """Return a part of the file in its encoding; ``is_first``: the beginning, where a byte order mark may stand."""
        return DecodedText(text, self._encoding, self._mark if is_first else b"").encoded(text)


def _not_decoded(name: str, num_lines_before: int, encoding: str) -> UserError:
    return UserError(
        f"{name}:{num_lines_before + 1}: is not {encoding}", fix="save it as UTF-8: iconv -f ITS_ENCODING -t UTF-8"
    )


def _check_is_text(text: str, name: str, num_lines_before: int) -> None:
    if "\0" in text:
        line = num_lines_before + text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{name}:{line}: has a zero byte, so that it is no text", fix="name its format with --format")
