"""Large documents are read bit by bit: the pieces together are what the whole is, whatever the bits are."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import pytest

from mtmoe.documents.document import Document, DocumentOptions, PieceSize
from mtmoe.documents.formats import csv_cells, tmx
from mtmoe.documents.registry import DOCUMENT_FORMATS
from mtmoe.errors import UserError
from tests.documents.made_up_translations import as_it_is, mixed, translated, turned_round, with_signs

OPTIONS = DocumentOptions("en", "de")
_UNIT = """<tu tuid="{n}"><!-- <tu> --><note>é {n}</note>
  <tuv xml:lang="en"><seg>A <bpt i="1">&lt;b></bpt>wörd<ept i="1"/> &amp; {n} <![CDATA[<cats>]]></seg></tuv>{more}
</tu>
"""
KEPT = '<tuv xml:lang="de"><seg>Da.</seg></tuv>'
TMX = (
    '<?xml version="1.0"?>\n<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n<tmx version="1.4"><header/>\n<body>\n'
    + "".join(_UNIT.format(n=n, more=KEPT if n % 3 == 0 else "") for n in range(40))
    + "</body>\n</tmx>\n<!-- the end -->\n"
)
CSV = "id;text\r\n" + "".join(f'{n};"The ""red"" car;\n{n} ä";Über all <b>cats</b>\r\n' for n in range(40)) + "41;last"
SAMPLES = {
    "tmx": TMX.encode(),
    "tmx utf-16": TMX.encode("utf-16"),
    "tmx latin-1": TMX.replace('"1.0"', '"1.0" encoding="iso-8859-1"').encode("latin-1"),
    "tmx with a mark": b"\xef\xbb\xbf" + TMX.encode(),
    "csv": CSV.encode(),
    "csv utf-16": CSV.encode("utf-16"),
    "csv with a mark": b"\xef\xbb\xbf" + CSV.encode(),
    "csv without text": b"a,b\n1,2\n",
    "csv empty": b"",
}
READERS = {"tmx": tmx.read_pieces, "csv": csv_cells.read_pieces}


class Trickle(io.BytesIO):
    """A file that gives a few bytes at a time, but for its beginning."""

    def __init__(self, content: bytes, num_bytes: int) -> None:
        super().__init__(content)
        self._num_bytes = num_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._num_bytes if self.tell() else 256)


def pieces(name: str, num_bytes: int, size: PieceSize | None) -> list[Document]:
    reader = READERS[name.split()[0]]
    return list(reader(Trickle(SAMPLES[name], num_bytes), f"x.{name}", OPTIONS, size))


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize(("num_bytes", "num_segments"), [(1, 1), (3, 4), (64, 7), (1000, 1000)])
def test_pieces_together_are_the_whole(name: str, num_bytes: int, num_segments: int) -> None:
    whole = DOCUMENT_FORMATS[name.split()[0]].read(SAMPLES[name], f"x.{name}", OPTIONS)
    found = pieces(name, num_bytes, PieceSize(segments=num_segments))
    assert [line for piece in found for line in piece.lines] == whole.lines
    assert sum(piece.num_kept for piece in found) == whole.num_kept == (14 if name.startswith("tmx") else 0)
    if whole.lines and num_segments < 10:
        assert len(found) > 3
    for translate in (as_it_is, turned_round, mixed, with_signs):
        assert b"".join(translated(piece, translate) for piece in found) == translated(whole, translate)


@pytest.mark.parametrize("name", SAMPLES)
def test_what_is_not_text_stays_byte_for_byte(name: str) -> None:
    found = b"".join(piece.content([]) for piece in pieces(name, 50, None) if not piece.lines)
    assert found in (b"", SAMPLES[name])
    encoding = "utf-16" if "utf-16" in name else "latin-1" if "latin-1" in name else "utf-8"
    lines = b"".join(translated(piece, turned_round) for piece in pieces(name, 50, PieceSize(3))).decode(encoding)
    if name.startswith("tmx"):
        assert lines.count("<!-- <tu> --><note>é") == 40
        assert lines.endswith("</body>\n</tmx>\n<!-- the end -->\n")
        assert lines.count("<seg>Da.</seg>") == 14
        assert lines.count("WÖRD") == 26


def test_a_piece_ends_with_many_characters_too() -> None:
    assert len(pieces("tmx", 100, PieceSize(1000, characters=900))) > 3


@pytest.mark.parametrize(
    ("reader", "content", "message"),
    [
        ("tmx", TMX.encode().replace(b"</tu>\n</body>", b"</tv>\n</body>"), r"x:124: not valid XML: mismatched tag"),
        ("tmx", TMX.encode()[:-200], r"x:122: not valid XML: unclosed token"),
        ("tmx", TMX.encode().replace("é 39".encode(), b"\xe9 39"), r"x:122: is not UTF-8"),
        ("tmx", TMX.encode().replace(b'"1.0"', b'"1.0" encoding="hex"'), r"x:1: has the unknown encoding hex"),
        ("tmx", b"<html><body/></html>", r"x: is no TMX: its first element is <html>"),
        ("tmx", TMX.replace('"en"', '"fr"').encode(), r"no unit has the source language 'en'; .* de, fr"),
        ("tmx", b"<tmx><body>" + b"<a>" * 300, r"nested more than 200 deep"),
        ("tmx", b'<!DOCTYPE tmx [<!ENTITY a "b">]><tmx><body/></tmx>', r"x:1: declares the entity 'a'"),
        ("csv", (CSV + '\r\n1;"open\n\n').encode(), r"x:83: a quotation mark is not closed"),
        ("csv", CSV.encode() + b"\r\n\xff", r"x:83: is not utf-8"),
        ("csv", CSV.encode() + b"\r\n\0", r"x:83: has a zero byte"),
    ],
)
@pytest.mark.parametrize("num_bytes", [5, 4000])
def test_what_is_wrong_is_told_with_its_line(reader: str, content: bytes, message: str, num_bytes: int) -> None:
    with pytest.raises(UserError, match=message):
        list(READERS[reader](Trickle(content, num_bytes), "x", OPTIONS, PieceSize(5)))


def test_a_column_that_no_row_has_is_told() -> None:
    with pytest.raises(UserError, match="there is no column 4, only 3"):
        list(csv_cells.read_pieces(io.BytesIO(CSV.encode()), "x", OPTIONS._replace(column=4), PieceSize(5)))


def test_a_quotation_mark_that_is_not_closed_does_not_fill_the_memory() -> None:
    class Endless(io.BytesIO):
        num_read = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.num_read += 1
            return b'a,"b\n' if self.num_read == 1 else b"c" * 1_000_000

    endless = Endless()
    with pytest.raises(UserError, match=r"x:1: a cell has more than 16,777,216 characters"):
        list(csv_cells.read_pieces(endless, "x", OPTIONS, PieceSize()))
    assert endless.num_read < 100


def peak_bytes(path: Path, num_units: int) -> int:
    """Return what it takes at most to read a memory of so many units."""
    with path.open("w", encoding="utf-8") as file:
        file.write("<tmx><body>\n")
        file.writelines(_UNIT.format(n=n, more="") for n in range(num_units))
        file.write("</body></tmx>\n")
    tracemalloc.start()
    with path.open("rb") as stream:
        num_lines = sum(len(piece.lines) for piece in tmx.read_pieces(stream, "x", OPTIONS, PieceSize(50)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num_lines == num_units
    return peak


def test_memory_does_not_grow_with_the_document(tmp_path: Path) -> None:
    small, large = (peak_bytes(tmp_path / "x.tmx", num_units) for num_units in (1800, 4500))
    assert (tmp_path / "x.tmx").stat().st_size > 700_000
    assert large < 1.2 * small
