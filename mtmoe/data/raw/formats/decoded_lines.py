"""Lines of a file as text: what all formats of one line a sentence have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mtmoe.data.raw.lines import LongLineError, decode_line, open_text_lines
from mtmoe.data.raw.sentence_pairs import INVALID_UTF8, TOO_LONG, BadLine, OnBadLine
from mtmoe.errors import UserError

SKIP_ADVICE = 'leave such lines out with data.cleaning.on_invalid_utf8 = "skip"'


def decoded_lines(path: Path, on_bad_line: OnBadLine, skip: bool) -> Iterator[tuple[int, str]]:
    """Yield the number, from 1, and the text of each line; what is no text or too long goes to ``on_bad_line``.

    Raises:
        UserError: a line is not UTF-8 and may not be skipped; the file is empty.
    """
    number = 0
    for number, line in enumerate(open_text_lines(path), start=1):
        text = decode_or_leave_out(line, path, number, on_bad_line, skip)
        if text is not None:
            yield number, text
    if number == 0:
        raise empty(path)


def decode_or_leave_out(line: bytes, path: Path, number: int, on_bad_line: OnBadLine, skip: bool) -> str | None:
    """Return the text of line ``number``; None, and a call of ``on_bad_line``, if it is left out.

    A line that is too long is always left out, one that is not UTF-8 if ``skip`` says so.

    Raises:
        UserError: the line is not UTF-8 and may not be skipped.
    """
    try:
        return decode_line(line, path, number, or_else=SKIP_ADVICE)
    except LongLineError:
        on_bad_line(BadLine(str(path), number, TOO_LONG))
    except UserError:
        if not skip:
            raise
        on_bad_line(BadLine(str(path), number, INVALID_UTF8))
    return None


def empty(path: Path) -> UserError:
    """Return the error of a file without a line."""
    return UserError(f"{path}: is empty", fix="name a file that holds text, one sentence a line")
