"""Two aligned text files: line n of one is the translation of line n of the other; or one file, of one language."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from mtmoe.config.settings import LinesSource, TextSource
from mtmoe.data.raw.formats.decoded_lines import decode_or_leave_out, decoded_lines, empty
from mtmoe.data.raw.formats.reading import Reading
from mtmoe.data.raw.lines import open_text_lines
from mtmoe.data.raw.misaligned_files import first_suspicious_line
from mtmoe.data.raw.sentence_pairs import OnBadLine, Pair
from mtmoe.errors import UserError


def read_aligned_text(source: TextSource, reading: Reading) -> Iterator[Pair]:
    """Read two files side by side; that one ends before the other is an error at the end."""
    paths = reading.locate(source.source_file), reading.locate(source.target_file)
    return _read_text(*paths, reading.on_bad_line, reading.skips_invalid)


def read_lines(source: LinesSource, reading: Reading) -> Iterator[Pair]:
    """Read one file of one language; the source sides are empty."""
    lines = decoded_lines(reading.locate(source.file), reading.on_bad_line, reading.skips_invalid)
    return (Pair("", line) for _, line in lines)


def _read_text(source_path: Path, target_path: Path, on_bad_line: OnBadLine, skip: bool) -> Iterator[Pair]:
    source_lines, target_lines = open_text_lines(source_path), open_text_lines(target_path)
    number = 0
    for number, (source, target) in enumerate(zip_longest(source_lines, target_lines), start=1):
        if source is None or target is None:
            num_lines = number + sum(1 for _ in (target_lines if source is None else source_lines))
            counts = (number - 1, num_lines) if source is None else (num_lines, number - 1)
            raise _different_line_counts(source_path, target_path, *counts)
        yield from _decoded_pair(source, target, (source_path, target_path), number, on_bad_line, skip)
    if number == 0:
        raise empty(source_path)


def _decoded_pair(
    source: bytes, target: bytes, paths: tuple[Path, Path], number: int, on_bad_line: OnBadLine, skip: bool
) -> Iterator[Pair]:
    """Decode one pair; none if a side is left out, and the other side of a bad source is not looked at."""
    source_text = decode_or_leave_out(source, paths[0], number, on_bad_line, skip)
    if source_text is None:
        return
    target_text = decode_or_leave_out(target, paths[1], number, on_bad_line, skip)
    if target_text is not None:
        yield Pair(source_text, target_text)


def _different_line_counts(source_path: Path, target_path: Path, num_source: int, num_target: int) -> UserError:
    problem = f"different numbers of lines: {source_path} has {num_source:,}, {target_path} has {num_target:,}"
    for path, num_lines in ((source_path, num_source), (target_path, num_target)):
        if num_lines == 0:
            return empty(path)
    shorter, longer = source_path, target_path
    if num_source > num_target:
        shorter, longer = longer, shorter
    num_extra = abs(num_source - num_target)
    line = first_suspicious_line(open_text_lines(shorter), open_text_lines(longer), open_text_lines(longer), num_extra)
    fix = "line n of one file must be the translation of line n of the other"
    if line is not None:
        begin = "its extra line seems to be" if num_extra == 1 else f"its {num_extra:,} extra lines seem to begin"
        fix = f"look at about line {line:,} of {longer}: {begin} there; {fix}"
    return UserError(problem, fix=fix)
