"""Lines in, lines out: what makes `mtmoe translate` safe and prompt in a pipe.

A line ends at a line feed and nowhere else, so that U+2028, U+0085 or a form feed in a sentence cannot shift
the lines behind it.
"""

from __future__ import annotations

import contextlib
import select
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from mtmoe.errors import UserError

from .console import write_data

STANDARD_INPUT = STANDARD_OUTPUT = Path("-")
"""How a command line names it where it asks for a FILE."""
_BLOCK_BYTES = 1 << 16
_MOST_CHUNK_BYTES = 1 << 20


@contextlib.contextmanager
def opened_input(path: Path | None) -> Iterator[BinaryIO]:
    """The bytes of standard input, or of a plain or compressed file."""
    if path is None:
        yield sys.stdin.buffer
        return
    from mtmoe.data.raw.lines import open_decompressed

    with open_decompressed(path) as stream:
        yield stream


@contextlib.contextmanager
def opened_output(path: Path | None) -> Iterator[Callable[[str], None]]:
    """A function that writes text to standard output, to a device or a named pipe, or to a file that appears when all
    is written."""
    if path is None:
        yield write_data
        return
    from mtmoe.system.atomic_files import opened_atomically

    with opened_atomically(path) as file:
        yield lambda text: cast(None, file.write(text.encode("utf-8")))


def line_chunks(stream: BinaryIO, num_lines: Callable[[], int], *, tell_pauses: bool = False) -> Iterator[list[bytes]]:
    """Yield all lines in order, in chunks that are as large as can be had without waiting.

    A chunk is given out when it has ``num_lines()`` lines or a megabyte, or when the writer of the pipe pauses: a
    person who types a line gets its answer. The last line need not end in a line feed. Of a line that is too long
    (`mtmoe.data.raw.lines.is_too_long`) only the beginning is there, so that memory is bounded.

    Args:
        stream: bytes.
        num_lines: most lines of the next chunk; asked after each line.
        tell_pauses: yield an empty chunk before waiting for the writer.
    """
    waiting: list[bytes] = []
    num_bytes = 0
    unended = _UnendedLine()
    while block := _read_some(stream):
        first, *others = block.split(b"\n")
        unended.add(first)
        if others:
            for line in (unended.content(), *others[:-1]):
                waiting.append(line)
                num_bytes += len(line)
                if len(waiting) >= num_lines() or num_bytes >= _MOST_CHUNK_BYTES:
                    yield waiting
                    waiting, num_bytes = [], 0
            unended = _UnendedLine()
            unended.add(others[-1])
        if not _more_is_there(stream):
            if waiting:
                yield waiting
                waiting, num_bytes = [], 0
            if tell_pauses and not _more_is_there(stream):
                yield []
    if last := unended.content():
        waiting.append(last)
    if waiting:
        yield waiting


class _UnendedLine:
    """The line that is being read, in pieces; of one that is too long as many as tell that it is."""

    def __init__(self) -> None:
        from mtmoe.data.raw.lines import LONGEST_LINE_BYTES

        self._most_bytes = LONGEST_LINE_BYTES + len(b"\r")
        self._pieces: list[bytes] = []
        self._num_bytes = 0

    def add(self, piece: bytes) -> None:
        if self._num_bytes <= self._most_bytes:
            self._pieces.append(piece)
            self._num_bytes += len(piece)

    def content(self) -> bytes:
        return b"".join(self._pieces)


def decoded(line: bytes, number: int, warn: Callable[[str], None], *, is_first: bool | None = None) -> str:
    """The line as text. Bytes that are not UTF-8 become U+FFFD, with a warning, so that no line is lost.

    ``is_first``: of a file, so that a byte order mark may be there; by default line 1 is.
    """
    line = line.removesuffix(b"\r")
    if number == 1 if is_first is None else is_first:
        line = line.removeprefix(b"\xef\xbb\xbf")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        warn(f"line {number} is not UTF-8 (byte {error.start + 1}); what cannot be read was replaced")
        return line.decode("utf-8", errors="replace")


def read_lines(path: Path) -> list[str]:
    """All lines of a plain or compressed UTF-8 file, or of standard input (``-``).

    Raises:
        UserError: the file cannot be read, or a line is not UTF-8.
    """
    from mtmoe.data.raw.lines import decode_line, open_text_lines, text_lines

    lines = text_lines(sys.stdin.buffer, path) if path == STANDARD_INPUT else open_text_lines(path)
    return [decode_line(line, path, number) for number, line in enumerate(lines, start=1)]


def read_aligned(*paths: Path) -> tuple[list[str], ...]:
    """The lines of files that belong together line by line.

    Raises:
        UserError: as :func:`read_lines`; the files have different numbers of lines; standard input twice.
    """
    if paths.count(STANDARD_INPUT) > 1:
        raise UserError(
            f"{STANDARD_INPUT} stands for two texts, but there is one standard input",
            fix="write one of the texts to a file",
        )
    first, *others = texts = tuple(map(read_lines, paths))
    for path, lines in zip(paths[1:], others, strict=True):
        if len(lines) != len(first):
            raise UserError(
                f"{paths[0]} has {len(first)} lines, but {path} has {len(lines)}",
                fix="line n of the one must belong to line n of the other; a blank line counts as a line",
            )
    return texts


def _read_some(stream: BinaryIO) -> bytes:
    """What can be had with one read; empty at the end."""
    read1 = getattr(stream, "read1", None)
    return read1(_BLOCK_BYTES) if read1 else stream.read(_BLOCK_BYTES)


def _more_is_there(stream: BinaryIO) -> bool:
    try:
        ready, _, _ = select.select([stream.fileno()], [], [], 0)
    except (OSError, ValueError):  # not a file of the system's (a test's), or one that cannot be asked
        return True
    return bool(ready)
