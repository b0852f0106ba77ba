"""Streams that are translated from Python, and the number of their lines."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

from mtmoe import TranslationOptions, Translator, translate_stream
from mtmoe.inference.files.translate_stream import count_lines


def test_streams_and_files_are_translated_one_after_the_other(run_directory: Path, tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("Two dogs play.\n")
    written: list[str] = []
    inputs = [io.BytesIO(b"Where is the station?\n\n"), tmp_path / "a.en"]
    done = translate_stream(
        TranslationOptions(run_directory, devices=("cpu",)), inputs, contextlib.nullcontext(written.append)
    )
    expected = Translator(run_directory, device="cpu").translate(["Where is the station?", "", "Two dogs play."])
    assert "".join(written).splitlines() == [translation.text for translation in expected]
    assert (done.num_lines, done.faults.num_unreadable) == (3, 0)
    done.raise_unreadable()


def test_a_file_as_a_stream_has_a_known_number_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1\n2\n3\n4")
    with path.open("rb", buffering=0) as file:
        file.readline()
        stream = io.BufferedReader(file)
        assert count_lines([stream]) == 3
        assert file.read() == b"2\n3\n4", "it is still to be read"
    assert count_lines([path, path]) == 8


def test_a_pipe_has_no_known_number_of_lines(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream:
        assert count_lines([stream]) is None
        os.close(writing)
    assert count_lines([io.BytesIO(b"a\n")]) is None
