"""Documents on the command line: formats, the memory, going on after an interruption, and files that are broken."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import docx
import pytest

from mtmoe.inference.requests import Request
from mtmoe.inference.translation import Translation
from mtmoe.inference.translator import Translator
from tests.inference.conftest import SENTENCES, untrained_run

WORDS = "one two three four five six seven".split()  # noqa: SIM905
PAGE = "".join(f"<p>Line {word} <b>is</b> here.</p>\n" for word in WORDS)


class _Capitals:
    """Translates by putting capitals; is interrupted at a line when that is wanted."""

    interrupted_by = ""
    lines: list[str] = []  # noqa: RUF012

    def __init__(self, run: Path, **arguments: Any) -> None:
        pass

    def translate(self, requests: Sequence[Request], num_best: int, **wanted: Any) -> list[Translation]:
        if any(self.interrupted_by and self.interrupted_by in request.text for request in requests):
            raise KeyboardInterrupt
        self.lines.extend(request.text for request in requests)
        words = [request.text.upper().split() for request in requests]
        return [Translation(" ".join(each), alignment=tuple((i, i) for i in range(len(each)))) for each in words]


@pytest.fixture
def capitals(monkeypatch: pytest.MonkeyPatch) -> type[_Capitals]:
    """A translator that is fast."""
    monkeypatch.setattr("mtmoe.inference.translator.Translator", _Capitals)
    for bound in ("CHUNK_LINES", "MOST_CHUNK_LINES"):
        monkeypatch.setattr(f"mtmoe.inference.files.line_chunks.{bound}", 2)
    _Capitals.interrupted_by, _Capitals.lines = "", []
    return _Capitals


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained run from English to French."""
    return untrained_run(tmp_path_factory.mktemp("run"), SENTENCES)


def test_a_document_is_what_its_sentences_are_translated_into(invoke: Any, run: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "a.docx", tmp_path / "b.docx"
    made = docx.Document()
    for sentence in SENTENCES[:3]:
        made.add_paragraph(sentence)
    made.save(str(source))
    result = invoke("translate", run, source, "--output", output, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert "a.docx: 3 sentences to translate" in result.stderr
    expected = [translation.text for translation in Translator(run, device="cpu").translate(SENTENCES[:3])]
    assert [" ".join(each.text.split()) for each in docx.Document(str(output)).paragraphs] == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.docx", "b.docx"]


def test_an_interrupted_document_is_gone_on_with(invoke: Any, run: Path, tmp_path: Path, capitals: Any) -> None:
    source, output = tmp_path / "a.html", tmp_path / "b.html"
    source.write_text(PAGE)
    capitals.interrupted_by = "five"
    stopped = invoke("translate", run, source, "--output", output)
    assert "stopped after line 4 of 7" in stopped.stderr
    assert not output.exists()
    capitals.interrupted_by = ""
    capitals.lines.clear()
    resumed = invoke("translate", run, source, "--output", output, "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    assert capitals.lines == ["Line five is here.", "Line six is here.", "Line seven is here."]
    words = ["ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN"]
    assert output.read_text() == "".join(f"<p>LINE {word} <b>IS</b> HERE.</p>\n" for word in words)
    changed = invoke("translate", run, source, "--output", output, "--resume", "--document-parts", "none")
    assert changed.exit_code != 0


def test_formats_are_told_by_name_content_and_option(invoke: Any, run: Path, tmp_path: Path, capitals: Any) -> None:
    by_content = tmp_path / "page"
    by_content.write_text("<!DOCTYPE html>\n<p>One <i>line</i></p>")
    result = invoke("translate", run, by_content)
    assert result.stdout == "<!DOCTYPE html>\n<p>ONE <i>LINE</i></p>"
    piped = invoke("translate", run, "--format", "json-strings", input='{"a": "b c"}')
    assert piped.stdout == '{"a": "B C"}'
    text = tmp_path / "page.html"
    text.write_text("<p>One</p>\n")
    assert invoke("translate", run, text, "--format", "text").stdout == "<P>ONE</P>\n"


def test_a_memory_gives_what_it_has(invoke: Any, run: Path, tmp_path: Path, capitals: Any) -> None:
    source, output, memory = tmp_path / "a.html", tmp_path / "b.html", tmp_path / "m.tmx"
    source.write_text("<p>A  cat.</p><p>A dog. A cat.</p><p><b>A cat.</b></p><p>A <b>cat.</b></p>")
    unit = '<tu><tuv xml:lang="en"><seg>A cat.</seg></tuv><tuv xml:lang="fr"><seg>Un chat &amp; co.</seg></tuv></tu>'
    memory.write_text(f'<tmx version="1.4"><header/><body>{unit}</body></tmx>')
    result = invoke("translate", run, source, "--output", output, "--memory", memory)
    assert result.exit_code == 0, result.stderr
    assert "2 sentences to translate, 3 from the memory" in result.stderr
    cat = "Un chat &amp; co."
    assert output.read_text() == f"<p>{cat}</p><p>A DOG. {cat}</p><p><b>{cat}</b></p><p>A <b>CAT.</b></p>"


def test_what_does_not_go_together_is_refused(invoke: Any, run: Path, tmp_path: Path, capitals: Any) -> None:
    page, text = tmp_path / "a.html", tmp_path / "a.txt"
    page.write_text(PAGE)
    text.write_text("a\n")
    for arguments, message in (
        ((page, text, "--output-dir", tmp_path / "out"), "is a document (html), and"),
        ((page, "--output", page), "would be overwritten by its translation"),
        ((page, page, "--output", tmp_path / "b"), "several documents need --output-dir"),
        ((text, "--retranslate"), "--retranslate belongs to documents"),
        ((page, "--nbest", 2), "--nbest, --scores and --alignment belong to lines"),
        ((page, "--document-parts", "feet"), "'feet' is none of headers"),
        ((page, "--direction", "de-fr"), "--direction de-fr"),
    ):
        result = invoke("translate", run, *arguments)
        assert result.exit_code != 0
        assert message in result.stderr
    assert page.read_text() == PAGE


def container(**members: bytes) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in members.items():
            written.writestr(name.replace("_", "/"), content)
    return output.getvalue()


_ENTITIES = b'<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
BOMB = b"<!DOCTYPE x [" + _ENTITIES + b']><xliff version="1.2">&b;</xliff>'
FROM_OUTSIDE = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><tmx><body>&a;</body></tmx>'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.docx", b"no zip", "is no zip file"),
        ("a.docx", b"PK\x03\x04 cut off", "is no zip file"),
        (
            "a.docx",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
            "encrypted with a password, or of the format before",
        ),
        ("a.docx", container(a=b"x"), "is no Office Open XML"),
        ("a.odt", container(a=b"x"), "is no OpenDocument"),
        ("a.odt", container(**{"content.xml": bytes(1 << 25)}), "would be 33,554,432 bytes in memory"),
        ("a.odt", container(**{"content.xml": b"<a>"}), "content.xml:1: not valid XML"),
        ("a.epub", container(a=b"x"), "is no EPUB"),
        ("a.unknown", container(a=b"x"), "no document of a known format"),
        ("a.xlf", BOMB, "declares the entity 'a'"),
        ("a.tmx", FROM_OUTSIDE, "declares the entity 'a'"),
        ("a.xlf", b"<xliff>\n<a>\n</xliff>", "a.xlf:3: not valid XML: mismatched tag"),
        ("a.xlf", b"<a/>", "is no XLIFF"),
        ("a.xlf", b'<?xml version="1.0" encoding="utf-8"?>\n<xliff>\xff</xliff>', "a.xlf:2: is not utf-8"),
        ("a.po", b'msgid "a"\nmsgstr ""\nnonsense\n', "a.po:3: is no line of a PO file"),
        ("a.json", b'{"a": 1,}', "a.json:1: is no JSON"),
        ("a.yaml", b"a: [1\nb: 2", "is no YAML"),
        ("a.csv", b'a,b\n1,"x', "a.csv:2: a quotation mark is not closed"),
        ("a.srt", b"hello", "has no line of times"),
        ("a.md", b"abc\n\xff", "a.md:2: is not utf-8"),
        ("a.html", b"<meta charset=foo>", "which is unknown"),
    ],
)
def test_a_broken_file_is_one_clear_error(
    name: str, content: bytes, message: str, invoke: Any, run: Path, tmp_path: Path, capitals: Any
) -> None:
    source, output = tmp_path / name, tmp_path / "out"
    source.write_bytes(content)
    result = invoke("translate", run, source, "--output", output)
    assert result.exit_code != 0
    assert message in result.stderr
    assert name in result.stderr
    assert "Traceback" not in result.stderr
    assert not output.exists()
