"""A data format is a settings class, a reader and a line of registration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from mtmoe.config.settings import Data, LinesSource
from mtmoe.config.settings.data import source_formats
from mtmoe.data.raw.formats.decoded_lines import decoded_lines
from mtmoe.data.raw.formats.reading import Reading
from mtmoe.data.raw.formats.registry import READERS
from mtmoe.data.raw.sentence_pairs import Pair
from mtmoe.data.raw.sources import read_pairs


def test_every_format_of_the_recipe_has_a_reader() -> None:
    assert set(READERS) == set(source_formats())


class AlternatingSource(LinesSource):
    """A format that nobody has yet: a sentence, its translation, the next sentence, and so on."""

    format: Literal["alternating"]  # type: ignore[assignment]


def read_alternating(source: AlternatingSource, reading: Reading) -> Iterator[Pair]:
    lines = [text for _, text in decoded_lines(reading.locate(source.file), reading.on_bad_line, reading.skips_invalid)]
    return (Pair(*both) for both in zip(lines[::2], lines[1::2], strict=True))


def test_another_format_is_read_once_its_reader_is_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(READERS, "alternating", read_alternating)
    (tmp_path / "both.txt").write_text("a dog\nun chien\na cat\nun chat\n", encoding="utf-8")
    settings = {"name": "mine", "format": "alternating", "file": {"path": str(tmp_path / "both.txt")}}
    train = [{"name": "another", "format": "tsv", "file": {"path": "unused"}}]
    data = Data.model_validate(
        {"source_language": "en", "target_language": "fr", "train": tuple(train), "valid": "split", "test": "split"},
        strict=False,
    )
    source = AlternatingSource.model_validate(settings)
    pairs = list(read_pairs(source, data, tmp_path))  # type: ignore[arg-type]
    assert pairs == [Pair("a dog", "un chien"), Pair("a cat", "un chat")]
