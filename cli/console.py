"""Output of commands: messages and progress on standard error, data on standard output.

Progress is a live display on a terminal, and plain lines (at most one every few seconds) where standard
error goes into a file or a pipe.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import shlex
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO
from unicodedata import combining, east_asian_width

import click

from mtmoe.progress import Progress, silent
from mtmoe.system.printable import printable

from .entry import OutputClosed

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Display
    from rich.text import Text

PLAIN_LINE_EVERY_SECONDS = 5.0
_CUT = "..."
_PLAIN_COLUMNS = 80  # of text in a file or a pipe
_MOST_COLUMNS = 100  # of text on a terminal: longer lines are hard to read
_LEAST_WIDTH = 40  # columns; in fewer (COLUMNS=0) a table's cells would be empty


def note(text: str) -> None:
    """Write one message for a person to standard error; a reader that is gone stops no work.

    Characters of files and arguments that could steer the terminal, or that its encoding lacks, are escaped.
    """
    with contextlib.suppress(OSError):
        click.echo(shown_in(printable(text), sys.stderr), err=True)


def shown_in(text: str, stream: TextIO) -> str:
    """Return the text with escapes for letters that the stream's encoding lacks (``LANG=C``, Latin-1)."""
    try:
        encoding = stream.encoding or "utf-8"
        return text.encode(encoding, "backslashreplace").decode(encoding)
    except (LookupError, UnicodeError, AttributeError):
        return text.encode("ascii", "backslashreplace").decode("ascii")


def command_line(*words: object) -> str:
    """Return a command for the user to copy: ``mtmoe`` and the words, quoted where the shell needs it."""
    return shlex.join(["mtmoe", *map(str, words)])


def warn(text: str) -> None:
    """Write a warning to standard error: something to look at that does not stop the command."""
    note(f"warning: {text}")


def write_data(text: str) -> None:
    """Write data to standard output as UTF-8, whatever the locale, and flush it.

    Raises:
        OutputClosed: nobody reads it any more.
    """
    try:
        sys.stdout.buffer.write(text.encode("utf-8", errors="surrogateescape"))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise OutputClosed from None


def write_text(text: str) -> None:
    """Write lines for a person to standard output, with escapes for what could steer the terminal."""
    write_data(printable(text))


def number_or_null(value: float) -> float | None:
    """Return the value for JSON, which has no infinity and no NaN: None for these."""
    return value if math.isfinite(value) else None


def write_json(value: Any) -> None:
    """Write one JSON document to standard output."""
    write_data(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def output_columns() -> int:
    """Return how many columns text on standard output may take: 80 in a file or pipe, on a terminal from 40 to 100."""
    if not sys.stdout.isatty():
        return _PLAIN_COLUMNS
    return max(_LEAST_WIDTH, min(shutil.get_terminal_size((_PLAIN_COLUMNS, 24)).columns, _MOST_COLUMNS))


def heading(text: str) -> str:
    """Return the text in bold where standard output is a terminal that has bold letters, else as it is."""
    is_plain = not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb" or "NO_COLOR" in os.environ
    return text if is_plain or not text else click.style(text, bold=True)


def folded(text: str, columns: int, indent: int = 0, further_indent: int | None = None) -> str:
    """Return a paragraph in lines of at most so many columns, each with a line feed.

    Characters that could steer the terminal are escaped. Lines after the first have ``further_indent``, else
    ``indent``.
    """
    further = indent if further_indent is None else further_indent
    lines = textwrap.wrap(
        _cell(text), columns, initial_indent=" " * indent, subsequent_indent=" " * further, break_on_hyphens=False
    )
    return "".join(f"{line}\n" for line in lines)


def columns_of(text: str) -> int:
    """Return how many columns of a terminal the text takes: two for a wide letter (Chinese), none for an accent."""
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, columns: int) -> str:
    """Return the text on one line of at most so many columns: what is too long ends with ``...``.

    Characters that could steer the terminal are escaped.
    """
    line = _cell(text)
    if columns_of(line) <= columns:
        return line
    ends = itertools.accumulate(map(columns_of, line))
    num_letters = sum(1 for _ in itertools.takewhile(lambda end: end <= columns - len(_CUT), ends))
    return line[:num_letters].rstrip() + _CUT


def write_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table to standard output: folded to fit a terminal, or of aligned columns into a file."""
    lines = [[_cell(text) for text in row] for row in (columns, *rows)]
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        padded = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
        write_data("".join(f"{line}\n" for line in padded))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(_literal(_cell(column)), overflow="fold")
    for line in lines[1:]:
        table.add_row(*(_literal(shown_in(text, sys.stdout)) for text in line))
    console = Console(highlight=False, emoji=False)
    console.width = max(console.width, _LEAST_WIDTH)
    console.print(table)


def _cell(text: str) -> str:
    """Return the text on one line: a line feed that came from a file would tear the table."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def is_terminal() -> bool:
    """Return whether standard error is a terminal."""
    return sys.stderr.isatty()


def terminal_console() -> Console:
    """Return the rich console that live displays use."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, emoji=False)


@contextlib.contextmanager
def shown_progress(*, beside_output: bool = False) -> Iterator[Progress]:
    """Yield a progress callback for a library call.

    ``beside_output``: the command writes data meanwhile, so that a live display waits for nothing but a
    terminal that the data does not go to.
    """
    if not is_terminal():
        yield without_repeats(PlainProgress())
    elif beside_output and sys.stdout.isatty():
        yield silent
    else:
        with _live_display() as display:
            yield without_repeats(LiveProgress(display))


def without_repeats(progress: Progress) -> Progress:
    """Return the same progress callback, but with the end of a stage that is reported twice in a row passed on once."""
    last: tuple[str, int, int | None] | None = None

    def told(stage: str, done: int, total: int | None, unit: str) -> None:
        nonlocal last
        if done != total or (stage, done, total) != last:
            progress(stage, done, total, unit)
        last = (stage, done, total)

    return told


class PlainProgress:
    """Writes a line when a stage ends, and one every few seconds on the way."""

    def __init__(self, write: Callable[[str], None] = note, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._last_line_seconds = clock()
        self._begun: dict[str, tuple[float, int]] = {}
        """When each stage was first told of, and how far it was then."""

    def __call__(self, stage: str, done: int, total: int | None, unit: str) -> None:
        now = self._clock()
        begun, done_then = self._begun.setdefault(stage, (now, done))
        if done == total:
            del self._begun[stage]
            self._line(now, f"{stage}: {amount(done, unit)}, {now - begun:.0f} s")
        elif now - self._last_line_seconds >= PLAIN_LINE_EVERY_SECONDS:
            of = "" if total is None else f" of {amount(total, unit)} ({done / total:.0%})"
            left = ""
            if total is not None and done > done_then:
                left = f", about {duration((now - begun) * (total - done) / (done - done_then))} left"
            self._line(now, f"{stage}: {amount(done, unit)}{of}{left}")

    def _line(self, now: float, text: str) -> None:
        self._last_line_seconds = now
        self._write(text)


class LiveProgress:
    """Keeps one bar for each stage on a terminal."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._tasks: dict[str, Any] = {}

    def __call__(self, stage: str, done: int, total: int | None, unit: str) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._display.add_task(shown_in(_cell(stage), sys.stderr), total=total, amount="")
        of = "" if total is None else f" / {amount(total, unit)}"
        text = amount(done, unit) if done == total else f"{amount(done, unit, bare=total is not None)}{of}"
        self._display.update(self._tasks[stage], completed=done, total=total, amount=text)
        if done == total:
            del self._tasks[stage]  # the bar stays; the same stage again (another file) is another bar


def _live_display() -> Display:
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Display

    return Display(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[amount]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=terminal_console(),
    )


def amount(number: float, unit: str, *, bare: bool = False) -> str:
    """Return a count for a person: 1,234 pairs, 20.7 MB; ``bare`` leaves the unit out."""
    if unit == "bytes":
        return number_of_bytes(number)
    return f"{number:,}" if bare else f"{number:,} {unit}"


def duration(seconds: float) -> str:
    """Return a length of time for a person: 40 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def number_of_bytes(number: float) -> str:
    """Return a number of bytes in decimal units, as registries and file managers do: 20.7 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def number(value: object) -> str:
    """Return a measured value for a person: three digits at least, thousands apart; text as it is."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _literal(text: str) -> Text:
    from rich.text import Text

    return Text(text)
