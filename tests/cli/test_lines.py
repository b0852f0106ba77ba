"""Texts that a command reads, and output that it writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from mtmoe.cli.lines import opened_output, read_aligned, read_lines

from mtmoe.errors import UserError


def test_an_output_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("before")
    output = opened_output(path)
    output.__enter__()("half")
    assert not output.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert path.read_text() == "before"
    with opened_output(path) as write:
        write("é\n")
    assert path.read_bytes() == "é\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_not_utf8_is_an_error_that_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"one\ncaf\xe9\n")
    with pytest.raises(UserError, match=r"latin\.txt:2: not UTF-8"):
        read_lines(path)


def test_files_of_different_length_are_an_error_that_names_both_counts(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1\n2\n3\n")
    (tmp_path / "b").write_text("1\n2\n")
    with pytest.raises(UserError, match=r"a has 3 lines, but .*b has 2"):
        read_aligned(tmp_path / "a", tmp_path / "b")
