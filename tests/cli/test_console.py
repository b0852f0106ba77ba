"""Talk, progress and tables."""

from __future__ import annotations

import io
import sys

import click
import pytest
from mtmoe.cli.console import (
    PLAIN_LINE_EVERY_SECONDS,
    PlainProgress,
    amount,
    columns_of,
    command_line,
    cut,
    duration,
    note,
    number_of_bytes,
    warn,
    without_repeats,
    write_table,
    write_text,
)


class _Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def _progress() -> tuple[PlainProgress, _Clock, list[str]]:
    clock, lines = _Clock(), []
    return PlainProgress(lines.append, clock), clock, lines


def test_plain_progress_writes_at_most_one_line_every_few_seconds() -> None:
    progress, clock, lines = _progress()
    for done in range(100):
        clock.seconds += PLAIN_LINE_EVERY_SECONDS / 10
        progress("encode", done, 1000, "pairs")
    assert len(lines) == 10
    # 9 pairs after the first took 9 * 0.5 s; the other 991 will take 495.5 s.
    assert lines[0] == "encode: 9 pairs of 1,000 pairs (1%), about 8 min left"


def test_plain_progress_always_tells_the_end_of_a_stage_and_its_time() -> None:
    progress, clock, lines = _progress()
    progress("download", 0, 20_000_000, "bytes")
    clock.seconds += 3
    progress("download", 20_000_000, 20_000_000, "bytes")
    progress("read", 7, 7, "pairs")
    assert lines == ["download: 20.0 MB, 3 s", "read: 7 pairs, 0 s"]


def test_what_is_left_is_told_from_the_speed_since_the_beginning_and_not_from_what_was_done_before() -> None:
    progress, clock, lines = _progress()
    progress("translate", 5000, 6000, "lines")  # resumed
    clock.seconds += 10
    progress("translate", 5100, 6000, "lines")
    assert lines == ["translate: 5,100 lines of 6,000 lines (85%), about 90 s left"]


def test_a_duration_has_the_unit_that_a_person_would_choose() -> None:
    assert [duration(seconds) for seconds in (7.4, 99, 100, 5400, 7200)] == ["7 s", "99 s", "2 min", "90 min", "2.0 h"]


def test_an_end_that_is_told_twice_is_one_end() -> None:
    progress, _, lines = _progress()
    wrapped = without_repeats(progress)
    for done in (5, 5, 6, 6):
        wrapped("encode", done, done, "pairs")
    assert lines == ["encode: 5 pairs, 0 s", "encode: 6 pairs, 0 s"]


def test_a_stage_of_unknown_length_tells_how_far_it_is() -> None:
    progress, clock, lines = _progress()
    clock.seconds += PLAIN_LINE_EVERY_SECONDS
    progress("read", 12_345, None, "pairs")
    assert lines == ["read: 12,345 pairs"]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1_000, "1.0 kB"), (21_653_563, "21.7 MB"), (3e12, "3.0 TB")],
)
def test_bytes_are_told_in_decimal_units(number: float, text: str) -> None:
    assert number_of_bytes(number) == text


def test_a_count_has_separators_and_its_unit() -> None:
    assert amount(36_000_000, "pairs") == "36,000,000 pairs"


def test_a_table_in_a_file_has_aligned_columns_and_is_never_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written))
    write_table(("name", "meaning"), [("a", "x" * 300), ("longer", "café [bold]")])
    lines = written.getvalue().decode().splitlines()
    assert lines == ["name    meaning", "a       " + "x" * 300, "longer  café [bold]"]


ESCAPE, BIDI = "\x1b[31m", "\u202e"


def test_what_comes_from_files_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    note(f"a{ESCAPE}.en: no such file\ngive{BIDI} another")
    warn(f"{ESCAPE}x")
    PlainProgress()(f"encode {ESCAPE}", 3, 3, "pairs")
    write_table(("name", "value"), [(f"{ESCAPE}b", "1\n2")])
    write_text(f"{ESCAPE}set: 3 sentences\n")
    told = capsys.readouterr()
    assert "a\\x1b[31m.en: no such file\ngive\\u202e another\n" in told.err
    assert "warning: \\x1b[31mx\n" in told.err
    assert "encode \\x1b[31m: 3 pairs" in told.err
    assert told.out == "name       value\n\\x1b[31mb  1\\n2\n\\x1b[31mset: 3 sentences\n"


class Terminal(io.StringIO):
    encoding = "ascii"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", ["0", "1", "3", "-5", "x", ""])
def test_a_table_on_a_terminal_that_says_it_has_no_room_is_written_all_the_same(
    columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")  # of a dumb one rich does not ask for columns
    monkeypatch.setenv("COLUMNS", columns)
    write_table(("name", "value"), [("first", "one"), ("second", "two")])
    assert [line.split() for line in click.unstyle(terminal.getvalue()).splitlines()] == [
        ["name", "value"],
        ["first", "one"],
        ["second", "two"],
    ]


def test_a_table_on_a_terminal_shows_markup_and_escapes_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "1000")
    write_table(("[bold]name", "value"), [(f"[red]{ESCAPE}:smile:", "é")])
    assert terminal.getvalue().isascii()
    assert [line.split() for line in terminal.getvalue().splitlines()] == [
        ["[bold]name", "value"],
        ["[red]\\x1b[31m:smile:", "\\xe9"],
    ]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_note_is_written_whatever_the_letters_of_the_terminal(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(written, encoding=encoding, errors="strict"))
    note("日本 é \udcff")
    sys.stderr.flush()
    assert (
        written.getvalue().decode(encoding)
        == {
            "ascii": "\\u65e5\\u672c \\xe9 \\xff\n",
            "latin-1": "\\u65e5\\u672c é \\xff\n",
            "utf-8": "日本 é \\xff\n",
        }[encoding]
    )


def test_a_command_to_copy_is_quoted_for_the_shell() -> None:
    assert command_line("bleu", "runs/my run") == "mtmoe bleu 'runs/my run'"
    assert command_line("train", "a;b", "RUN_DIR") == "mtmoe train 'a;b' RUN_DIR"


@pytest.mark.parametrize(
    ("text", "columns", "line"),
    [
        ("a short one", 11, "a short one"),
        ("a longer one", 11, "a longer..."),
        ("a long word", 10, "a long..."),
        ("日本語の文", 10, "日本語の文"),
        ("日本語の文です", 10, "日本語..."),
        ("e\u0301" * 10, 10, "e\u0301" * 10),
        ("e\u0301" * 11, 10, "e\u0301" * 7 + "..."),
        ("two\nlines\tand a bell\x07", 80, "two\\nlines\\tand a bell\\x07"),
        (f"{ESCAPE}{BIDI}" * 20, 20, "\\x1b[31m\\u202e\\x1..."),
        ("", 10, ""),
    ],
)
def test_a_text_is_cut_to_the_columns_that_it_takes(text: str, columns: int, line: str) -> None:
    assert cut(text, columns) == line
    assert columns_of(cut(text, columns)) <= columns


def test_a_long_text_is_cut_at_once() -> None:
    assert cut("日" * 1_000_000, 100) == "日" * 48 + "..."
