"""Chunks of lines from files and pipes: as many lines as can be had without waiting.

A line ends at a line feed and nowhere else, so that U+2028, U+0085 or a form feed in a sentence cannot shift
the lines behind it.
"""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

_BLOCK_BYTES = 1 << 16
_MOST_CHUNK_BYTES = 1 << 20
# Lines that are sorted by length and translated together: few at first, so that there is something to see; then, as
# each chunk ends in batches that are not full, as many as take some seconds. A crash loses a chunk, and no more.
CHUNK_LINES = 1024
MOST_CHUNK_LINES = 4096
_CHUNK_SECONDS = 8.0

TextInput = Path | BinaryIO
"""A plain or compressed file, or a stream of bytes, which errors call standard input."""


class ChunkSize:
    """How many lines a chunk has: it grows with the speed of the answers."""

    def __init__(
        self,
        num_workers: int = 1,
        *,
        fewest: int | None = None,
        most: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            num_workers: processes that share the lines.
            fewest, most: bounds of the number of lines; by default those of this module.
            clock: seconds.
        """
        self._num_workers = num_workers
        self._clock = clock
        self._fewest, self._most = fewest or CHUNK_LINES, most or MOST_CHUNK_LINES
        self.num_lines = self._fewest
        self._began: float | None = None
        self._num_answered = 0

    def answered(self, num_lines: int) -> None:
        """Count lines that are done, and set the size of the next chunks by their speed."""
        if self._began is None:  # until the first lines are done, the model was being loaded
            self._began = self._clock()
            return
        self._num_answered += num_lines
        a_second = self._num_answered / max(self._clock() - self._began, 1e-3)
        wanted = int(a_second * _CHUNK_SECONDS / self._num_workers)
        self.num_lines = max(self._fewest, min(wanted, self._most))


class RawLine(NamedTuple):
    """A line as it was read, without its line feed."""

    content: bytes
    number: int
    """From 0, over all files that are translated into one output."""
    is_first: bool
    """Of its file."""


def raw_line_chunks(
    inputs: Sequence[TextInput],
    size: ChunkSize,
    *,
    num_skipped: int = 0,
    end: int | None = None,
    tell_pauses: bool = False,
) -> Iterator[list[RawLine]]:
    """Yield the lines of several inputs, one after the other, in chunks.

    Args:
        size: asked for the number of lines after each line.
        num_skipped: lines at the beginning that are left out.
        end: number of the line, from 0, that is read no more; by default all are read.
        tell_pauses: yield an empty chunk before waiting for the writer of a pipe.

    Raises:
        UserError: an input cannot be read, or holds no text.
    """
    from mtmoe.data.raw.lines import check_is_text

    number = 0
    for source in inputs:
        path = source if isinstance(source, Path) else None
        is_first = True
        with open_input(source) as stream:
            for chunk in line_chunks(stream, lambda: size.num_lines, tell_pauses=tell_pauses):
                lines = []
                for content in chunk:
                    if is_first:
                        check_is_text(content, path)
                    if number >= num_skipped and (end is None or number < end):
                        lines.append(RawLine(content, number, is_first))
                    number += 1
                    is_first = False
                if lines or not chunk:
                    yield lines
                if end is not None and number >= end:
                    return


@contextlib.contextmanager
def open_input(source: TextInput) -> Iterator[BinaryIO]:
    """Yield the bytes of a stream, or of a plain or compressed file.

    Raises:
        UserError: the file cannot be read.
    """
    if not isinstance(source, Path):
        yield source
        return
    from mtmoe.data.raw.lines import open_decompressed

    with open_decompressed(source) as stream:
        yield stream


def line_chunks(stream: BinaryIO, num_lines: Callable[[], int], *, tell_pauses: bool = False) -> Iterator[list[bytes]]:
    """Yield all lines in order, in chunks that are as large as can be had without waiting.

    A chunk is given out when it has ``num_lines()`` lines or a megabyte, or when the writer of the pipe pauses: a
    person who types a line gets its answer. The last line need not end in a line feed. Of a line that is too long
    (`mtmoe.data.raw.lines.is_too_long`) only the beginning is there, so that memory is bounded.

    Args:
        stream: bytes.
        num_lines: called after each line; returns the most lines of the next chunk.
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


def decode_leniently(line: bytes, number: int, warn: Callable[[str], None], *, is_first: bool | None = None) -> str:
    """Return the line as text. Bytes that are not UTF-8 become U+FFFD, with a warning, so that no line is lost.

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


def _read_some(stream: BinaryIO) -> bytes:
    """Return what can be had with one read; empty at the end."""
    read1 = getattr(stream, "read1", None)
    return read1(_BLOCK_BYTES) if read1 else stream.read(_BLOCK_BYTES)


def _more_is_there(stream: BinaryIO) -> bool:
    try:
        ready, _, _ = select.select([stream.fileno()], [], [], 0)
    except (OSError, ValueError):  # not a file of the system's (a test's), or one that cannot be asked
        return True
    return bool(ready)
