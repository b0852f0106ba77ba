"""Languages that a translation memory names."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtmoe.data.raw.formats.tmx_languages import languages_of_tmx
from mtmoe.errors import UserError

UNIT = '<tu><tuv xml:lang="en-US"><seg>one &eacute; &nosuch;</seg></tuv><tuv lang="de"><seg>eins</seg></tuv></tu>\n'


def _memory(folder: Path, units: str, header: str = '<header srclang="de-DE"/>', encoding: str = "UTF-8") -> Path:
    path = folder / "m.tmx"
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n<tmx version="1.4">{header}<body>{units}</body></tmx>'
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16", "Shift_JIS"])
def test_codes_are_counted_as_they_are_written(tmp_path: Path, encoding: str) -> None:
    found = languages_of_tmx(_memory(tmp_path, UNIT * 3, encoding=encoding))
    assert found.variants == {"en-US": 3, "de": 3}
    assert found.source_language == "de-DE"


def test_a_header_of_all_languages_names_none(tmp_path: Path) -> None:
    assert languages_of_tmx(_memory(tmp_path, UNIT, '<header srclang="*all*"/>')).source_language == ""


def test_of_a_long_memory_the_beginning_is_read(tmp_path: Path) -> None:
    path = _memory(tmp_path, UNIT * 5000)
    path.write_bytes(path.read_bytes() + b"<no end")
    assert sum(languages_of_tmx(path, most_variants=100).variants.values()) < 10_000
    with pytest.raises(UserError, match=r"m\.tmx:5002: not valid XML"):
        languages_of_tmx(path)


def test_declared_entities_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.tmx"
    path.write_text('<!DOCTYPE tmx [<!ENTITY a "aaaa">]><tmx><body/></tmx>')
    with pytest.raises(UserError, match="declares the entity 'a'"):
        languages_of_tmx(path)
