"""Text files of a command line, where ``-`` stands for standard input and output."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

from mtmoe.errors import UserError

from .console import write_data
from .entry import OutputClosed

STANDARD_INPUT = STANDARD_OUTPUT = Path("-")
"""How a command line names it where it asks for a FILE."""


@contextlib.contextmanager
def opened_output(path: Path | None) -> Iterator[Callable[[str], None]]:
    """Yield a function that writes text: to standard output, to a device or a named pipe, or to a file that appears
    when all is written."""
    if path is None:
        yield write_data
        return
    from mtmoe.system.atomic_files import opened_atomically

    with opened_atomically(path) as file:
        yield lambda text: cast(None, file.write(text.encode("utf-8")))


def write_whole(path: Path | None, content: bytes) -> None:
    """Write bytes to standard output, to a device, or to a file that appears when all is written.

    Raises:
        OutputClosed: nobody reads standard output any more.
    """
    if path is not None:
        from mtmoe.system.atomic_files import write_atomically

        write_atomically(path, content)
        return
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise OutputClosed from None


def read_lines(path: Path) -> list[str]:
    """Return all lines of a plain or compressed UTF-8 file, or of standard input (``-``).

    Raises:
        UserError: the file cannot be read, or a line is not UTF-8.
    """
    from mtmoe.data.raw.lines import decode_line, open_text_lines, text_lines

    lines = text_lines(sys.stdin.buffer, path) if path == STANDARD_INPUT else open_text_lines(path)
    return [decode_line(line, path, number) for number, line in enumerate(lines, start=1)]


def read_aligned(*paths: Path) -> tuple[list[str], ...]:
    """Return the lines of files that belong together line by line.

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
