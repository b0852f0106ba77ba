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
        try:
            text = decode_line(line, path, number, or_else=SKIP_ADVICE)
        except LongLineError:
            on_bad_line(BadLine(str(path), number, TOO_LONG))
        except UserError:
            if not skip:
                raise
            on_bad_line(BadLine(str(path), number, INVALID_UTF8))
        else:
            yield number, text
    if number == 0:
        raise empty(path)


def empty(path: Path) -> UserError:
    """Return the error of a file without a line."""
    return UserError(f"{path}: is empty", fix="name a file that holds text, one sentence a line")
