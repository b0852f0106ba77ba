"""Documents from Python: files, and contents by a translator that is loaded; going on after an interruption."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import mtmoe
from mtmoe.documents.document import PieceSize
from mtmoe.errors import UserError
from mtmoe.inference.requests import Request
from mtmoe.inference.translation import Translation
from mtmoe.inference.translator import Translator
from tests.inference.conftest import SENTENCES, untrained_run

ROWS = "".join(f"{n},one <b>two</b> {n},\n" for n in range(7))
CSV = f"number,text,last\n{ROWS}"
UNITS = "".join(
    f'<tu><tuv xml:lang="en"><seg><bpt i="1"/>Unit<ept i="1"/> of {n}.</seg></tuv></tu>\n' for n in range(7)
)
TMX = f'<tmx version="1.4"><body>\n{UNITS}</body></tmx>\n'
PAGE = "".join(f"<p>Line <b>number</b> {n}.</p>\n" for n in range(7))
DOCUMENTS = {"a.csv": CSV, "a.tmx": TMX, "a.html": PAGE}


class Capitals:
    """Translates by putting capitals, without an alignment, so that text between tags is translated by itself, too; is
    interrupted after some lines when that is wanted."""

    num_lines_left = 10**9

    def __init__(self, run: Path, **arguments: Any) -> None:
        pass

    def translate(self, requests: Sequence[Request], num_best: int, **wanted: Any) -> list[Translation]:
        if Capitals.num_lines_left < len(requests):
            raise KeyboardInterrupt
        Capitals.num_lines_left -= len(requests)
        return [Translation(request.text.upper()) for request in requests]


@pytest.fixture
def capitals(monkeypatch: pytest.MonkeyPatch) -> type[Capitals]:
    """A translator that is fast, and small pieces."""
    monkeypatch.setattr("mtmoe.inference.translator.Translator", Capitals)
    monkeypatch.setattr("mtmoe.documents.registry.PieceSize", partial(PieceSize, segments=2))
    for bound in ("CHUNK_LINES", "MOST_CHUNK_LINES"):
        monkeypatch.setattr(f"mtmoe.inference.files.line_chunks.{bound}", 2)
    Capitals.num_lines_left = 10**9
    return Capitals


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained run from English to French."""
    return untrained_run(tmp_path_factory.mktemp("run"), SENTENCES)


class Notes(mtmoe.DocumentListener):
    """Keeps what was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def counted(self, path: Path, counts: mtmoe.DocumentCounts) -> None:
        self.told.append((path.name, *counts))

    def resumed(self, output: Path, num_lines_done: int, num_lines: int) -> None:
        self.told.append(("resumed", num_lines_done, num_lines))


def test_a_file_becomes_what_its_content_becomes_by_a_loaded_translator(run: Path, tmp_path: Path) -> None:
    source = tmp_path / "page.html"
    source.write_text("".join(f"<p class='a'>{sentence}</p>\n" for sentence in SENTENCES[:3]))
    options = mtmoe.TranslationOptions(run, devices=("cpu",))
    notes = Notes()
    done = mtmoe.translate_document(options, source, tmp_path / "b.html", listener=notes)
    translator = Translator(run, device="cpu")
    content = mtmoe.translate_document_content(translator, source.read_bytes(), "page.html")
    assert (tmp_path / "b.html").read_bytes() == content
    assert done.num_lines == 3
    assert notes.told == [("page.html", 3, 0, 0)]
    expected = [translation.text for translation in translator.translate(SENTENCES[:3])]
    for text in expected:
        assert f"<p class='a'>{text.replace('&', '&amp;')}</p>".encode() in content


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_was_interrupted_anywhere_goes_on_and_becomes_the_same(
    name: str, run: Path, tmp_path: Path, capitals: type[Capitals]
) -> None:
    source = tmp_path / name
    source.write_text(DOCUMENTS[name])
    options = mtmoe.TranslationOptions(run)
    (tmp_path / "whole").mkdir()
    whole = mtmoe.translate_document(options, source, tmp_path / "whole" / name)
    expected = (tmp_path / "whole" / name).read_bytes()
    assert b"TWO" in expected or b"UNIT" in expected or b"NUMBER" in expected
    assert whole.num_lines > 14  # text between tags is translated by itself
    for num_lines in range(0, whole.num_lines, 3):
        output = tmp_path / f"{num_lines}" / name
        output.parent.mkdir()
        capitals.num_lines_left = num_lines
        with pytest.raises(KeyboardInterrupt):
            mtmoe.translate_document(options, source, output)
        assert not output.exists()
        capitals.num_lines_left = whole.num_lines - num_lines + 1  # what is done is not done again
        notes = Notes()
        assert mtmoe.translate_document(options, source, output, resume=True, listener=notes) == whole
        assert output.read_bytes() == expected
        assert notes.told[1][0] == "resumed"
        assert [path.name for path in output.parent.iterdir()] == [name]


def test_wishes_are_those_of_the_command(run: Path, tmp_path: Path, capitals: type[Capitals]) -> None:
    source, output, memory = tmp_path / "table", tmp_path / "b.csv", tmp_path / "memory.tmx"
    source.write_text("a,b\nstay,go\nhere,Where?\n")
    unit = '<tu><tuv xml:lang="en"><seg>Where?</seg></tuv><tuv xml:lang="fr"><seg>Où ?</seg></tuv></tu>'
    memory.write_text(f"<tmx version='1.4'><header srclang='en'/><body>{unit}</body></tmx>", encoding="utf-8")
    wishes = mtmoe.DocumentWishes(column=2, memory=memory)
    notes = Notes()
    mtmoe.translate_document(mtmoe.TranslationOptions(run), source, output, wishes, format="csv", listener=notes)
    assert output.read_text(encoding="utf-8") == 'a,b\nstay,"GO"\nhere,"Où ?"\n'
    assert notes.told == [("table", 1, 1, 0)]
    with pytest.raises(UserError, match="translates en-fr"):
        mtmoe.translate_document(
            mtmoe.TranslationOptions(run), source, output, mtmoe.DocumentWishes(direction="fr-en"), format="csv"
        )


def test_what_is_no_document_is_told(run: Path, tmp_path: Path) -> None:
    options = mtmoe.TranslationOptions(run)
    (tmp_path / "lines").write_text("one\ntwo\n")
    with pytest.raises(UserError, match="lines: is no document"):
        mtmoe.translate_document(options, tmp_path / "lines", tmp_path / "b")
    with pytest.raises(UserError, match="'pdf' is the format of no document"):
        mtmoe.translate_document(options, tmp_path / "lines", tmp_path / "b", format="pdf")
    with pytest.raises(UserError, match=r"nothing\.csv: cannot be read: No such file"):
        mtmoe.translate_document(options, tmp_path / "nothing.csv", tmp_path / "b.csv")


def test_a_file_that_is_changed_meanwhile_is_not_mixed_up(run: Path, tmp_path: Path, capitals: type[Capitals]) -> None:
    source = tmp_path / "a.csv"
    source.write_text(CSV)

    class Changes(Notes):
        def counted(self, path: Path, counts: mtmoe.DocumentCounts) -> None:
            source.write_text(CSV + "7,more,\n")

    with pytest.raises(UserError, match=r"a\.csv: was changed while it was translated"):
        mtmoe.translate_document(mtmoe.TranslationOptions(run), source, tmp_path / "b.csv", listener=Changes())
    assert not (tmp_path / "b.csv").exists()
