"""All formats: what a translation looks like, byte for byte, and what a second reader makes of it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import docx
import odfdo
import openpyxl
import polib
import pptx
import pysubs2
import pytest
import yaml
from docx.shared import RGBColor
from translate.storage import factory

from mtmoe.documents.document import Document, DocumentOptions
from mtmoe.documents.registry import DOCUMENT_FORMATS
from mtmoe.documents.zip_container import ZipContainer
from tests.documents.made_up_translations import as_it_is, translated, turned_round


def document(format: str, content: str | bytes, **options: object) -> Document:
    data = content.encode() if isinstance(content, str) else content
    return DOCUMENT_FORMATS[format].read(data, f"x.{format}", DocumentOptions("en", "de", **options))  # type: ignore[arg-type]


TMX = """<tmx version="1.4"><header/><body>
<tu>
  <tuv xml:lang="en-US"><seg>Hello <bpt i="1">&lt;b></bpt>big<ept i="1"/> world</seg></tuv>
</tu>
<tu><tuv xml:lang="en"><seg>A cat</seg></tuv><tuv xml:lang="de"><seg>Eine Katze</seg></tuv></tu></body></tmx>
"""
PO = r"""# A comment
msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2;\n"

#: a.c:1
msgid "Open <b>file</b> now\n"
"Second \"line\"\n"
msgstr ""

msgid "kept"
msgstr "behalten"

msgid "one file"
msgid_plural "many files"
msgstr[0] ""
msgstr[1] ""

#~ msgid "old"
#~ msgstr ""
"""
XLIFF = """<?xml version="1.0"?>
<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2"><file original='a' source-language="en" ><body>
<trans-unit id="1"><source>Hello <g id="1">big</g> <x id="2"/> world.</source><note>n</note></trans-unit>
<trans-unit id="2"><source>Kept</source><target>Behalten</target></trans-unit>
<trans-unit id="3" translate="no"><source>Name</source></trans-unit>
<trans-unit id="4"><source>A. B.</source><seg-source>
<mrk mtype="seg" mid="1">A b.</mrk> <mrk mtype="seg" mid="2">C d.</mrk></seg-source></trans-unit></body></file></xliff>
"""
YAML = r"""# c
a: Hello world # x
b: 'it''s ok'
c: "q \"z\""
d: 12
e: |
  One two
  three
f: >-
  fold me
  up

  again
g: [a b, {h: c d}]
? key
: value
n:
t: !!int '5'
y: yes
z: &x one two
w: *x
"""
YAML_TURNED = r"""# c
a: "WORLD HELLO" # x
b: 'OK IT''S'
c: "\"Z\" Q"
d: 12
e: |
  TWO ONE
  THREE
f: >-
  UP ME FOLD

  AGAIN
g: ["B A", {h: "D C"}]
? key
: "VALUE"
n:
t: !!int '5'
y: yes
z: &x "TWO ONE"
w: *x
"""
MARKDOWN = r"""---
title: x
---
# The *big* title #

Some **bold text** in a [link to](http://x.y "t t"),
over lines. A \* star. \
Hard break.

> quoted
> on

- [ ] a task
- see ![alt](i.png)

| a head | b |
|---|---|
| cell one | `c` two |

```
code
```

[r]: http://z
"""
MARKDOWN_TURNED = r"""---
title: x
---
# TITLE *BIG* THE #

LINES. OVER [TO, LINK](http://x.y "t t") A IN **TEXT BOLD** SOME STAR. \* A \
BREAK. HARD

> ON QUOTED

- [ ] TASK A
- SEE ![alt](i.png)

| HEAD A | B |
|---|---|
| ONE CELL | `c` TWO |

```
code
```

[r]: http://z
"""
CASES = [
    (
        "tmx",
        TMX,
        TMX.replace(
            "</tuv>\n</tu>\n",
            '</tuv>\n  <tuv xml:lang="de"><seg>WORLD <bpt i="1">&lt;b></bpt>BIG<ept i="1"/> HELLO</seg></tuv>\n</tu>\n',
        ),
    ),
    (
        "po",
        PO,
        PO.replace(
            '"\nmsgstr ""\n\nmsgid "kept', '"\nmsgstr "NOW <b>FILE</b> OPEN\\n\\"LINE\\" SECOND\\n"\n\nmsgid "kept'
        )
        .replace('msgstr[0] ""', 'msgstr[0] "FILE ONE"')
        .replace('msgstr[1] ""', 'msgstr[1] "FILES MANY"'),
    ),
    (
        "xliff",
        XLIFF,
        XLIFF.replace('source-language="en" >', 'source-language="en" target-language="de">')
        .replace(
            "world.</source>",
            'world.</source><target>WORLD. <x id="2"/> <g id="1">BIG</g> HELLO</target>',
        )
        .replace(
            "</seg-source>",
            '</seg-source><target>\n<mrk mtype="seg" mid="1">B. A</mrk> <mrk mtype="seg" mid="2">D. C</mrk></target>',
        ),
    ),
    (
        "srt",
        "1\r\n00:00:01,000 --> 00:00:02,000\r\nHello there, <i>my\r\nfriend</i>.\r\n\r\n2\r\n"
        "00:00:03,000 --> 00:00:04,000\r\n- Oh yes?\r\n- No.\r\n",
        "1\r\n00:00:01,000 --> 00:00:02,000\r\n<i>FRIEND. MY</i>\r\nTHERE, HELLO\r\n\r\n2\r\n"
        "00:00:03,000 --> 00:00:04,000\r\n- YES? OH\r\n- NO.\r\n",
    ),
    (
        "vtt",
        "WEBVTT\n\nNOTE it is\n\n1\n00:01.000 --> 00:02.000 line:0\n<v Roger>Hello &amp; bye\n",
        "WEBVTT\n\nNOTE it is\n\n1\n00:01.000 --> 00:02.000 line:0\n<v Roger>BYE &amp; HELLO\n",
    ),
    (
        "json-strings",
        '{"a" : "Hello you", "b": [1.50, "x\\ny", true], "k": {"c": "\\u00e9t\\u00e9 <b>now</b>"}}\n',
        '{"a" : "YOU HELLO", "b": [1.50, "X\\nY", true], "k": {"c": "<b>NOW</b> \\u00c9T\\u00c9"}}\n',
    ),
    ("yaml", YAML, YAML_TURNED),
    (
        "csv",
        'id;text\n1;"Hello, ""you"""\n2;plain text\n',
        'id;text\n1;"""YOU"" HELLO,"\n2;"TEXT PLAIN"\n',
    ),
    ("markdown", MARKDOWN, MARKDOWN_TURNED),
]


@pytest.mark.parametrize(("format", "source", "expected"), CASES, ids=[case[0] for case in CASES])
def test_nothing_but_the_text_is_changed(format: str, source: str, expected: str) -> None:
    assert translated(document(format, source), turned_round).decode() == expected


def test_second_readers_read_the_translations(tmp_path: Path) -> None:
    outputs = {format: translated(document(format, source), as_it_is).decode() for format, source, _ in CASES}
    entries = polib.pofile(outputs["po"])
    assert entries[0].msgstr == entries[0].msgid
    assert entries[2].msgstr_plural == {0: "one file", 1: "many files"}
    assert [line.text for line in pysubs2.SSAFile.from_string(outputs["srt"].replace("\r", ""))][
        1
    ] == r"- Oh yes?\N- No."
    assert json.loads(outputs["json-strings"]) == json.loads(CASES[5][1])
    assert yaml.safe_load(outputs["yaml"].replace("fold me up", "fold me\n  up")) == yaml.safe_load(CASES[6][1])
    assert list(csv.reader(io.StringIO(outputs["csv"]), delimiter=";"))[1] == ["1", 'Hello, "you"']
    for format in ("xliff", "tmx"):
        path = tmp_path / f"a.{format}"
        path.write_text(outputs[format])
        units = factory.getobject(str(path)).units
        assert str(units[0].target).replace("<b>", "").startswith("Hello ")


def test_translations_that_are_there_stay_unless_told() -> None:
    for format, source, _ in CASES[:3]:
        kept, again = document(format, source), document(format, source, retranslate=True)
        assert (kept.num_kept, again.num_kept) == (1, 0)
        assert len(again.lines) == len(kept.lines) + 1


def test_one_column_of_a_table_can_be_chosen() -> None:
    table = "id,a,b\n1,one two,three four\n"
    assert document("csv", table, column=3).lines == ["three four"]


def word_document(path: Path) -> None:
    made = docx.Document()
    made.add_heading("The big title", 1)
    paragraph = made.add_paragraph("This is ")
    paragraph.add_run("bold text").bold = True
    paragraph.add_run(" and ")
    paragraph.add_run("red").font.color.rgb = RGBColor(255, 0, 0)
    paragraph.add_run(" here. A second one\twith a tab.")
    made.add_table(1, 2).cell(0, 0).text = "A cell"
    made.sections[0].header.paragraphs[0].text = "A header"
    made.save(str(path))


def test_docx(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    word_document(path)
    found = document("docx", path.read_bytes())
    assert found.lines == [
        "The big title", "This is bold text and red here.", "A second one", "with a tab.", "A cell", "A header"
    ]  # fmt: skip
    assert "A header" not in document("docx", path.read_bytes(), parts=()).lines
    output = tmp_path / "b.docx"
    output.write_bytes(translated(found, turned_round))
    read = docx.Document(str(output))
    assert read.paragraphs[0].text == "TITLE BIG THE"
    runs = [(run.text, bool(run.bold)) for run in read.paragraphs[1].runs]
    assert runs == [
        ("HERE. ", False), ("RED", False), (" AND ", False), ("TEXT BOLD", True), (" IS THIS ONE SECOND A", False),
        ("\t", False), ("TAB. A WITH", False),
    ]  # fmt: skip
    assert read.sections[0].header.paragraphs[0].text == "HEADER A"
    before, after = (ZipContainer(each.read_bytes(), "x") for each in (path, output))
    changed = [name for name in before.names if before.read(name) != after.read(name)]
    assert changed == ["word/document.xml", "word/header1.xml"]
    assert before.names == after.names


def test_xlsx(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["Hello world", 5, "=B1*2", "Line one\nLine two"])
    book.save(path)
    path.write_bytes(translated(document("xlsx", path.read_bytes()), turned_round))
    cells = next(openpyxl.load_workbook(path).active.values)
    assert cells == ("WORLD HELLO", 5, "=B1*2", "ONE LINE\nTWO LINE")


def test_names_of_the_columns_of_a_table_stay_for_formulas_name_them(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    book = openpyxl.Workbook()
    book.active.append(["Total price", "Name"])
    book.active.append(["one two", "three four"])
    book.active.add_table(openpyxl.worksheet.table.Table(displayName="T", ref="A1:B2"))
    book.save(path)
    assert document("xlsx", path.read_bytes()).lines == ["one two", "three four"]


def test_pptx(tmp_path: Path) -> None:
    path = tmp_path / "a.pptx"
    show = pptx.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[0])
    slide.shapes.title.text = "A presentation"
    slide.notes_slide.notes_text_frame.text = "Speak slowly"
    show.save(str(path))
    assert "Speak slowly" not in document("pptx", path.read_bytes(), parts=()).lines
    path.write_bytes(translated(document("pptx", path.read_bytes()), turned_round))
    read = pptx.Presentation(str(path)).slides[0]
    assert (read.shapes.title.text, read.notes_slide.notes_text_frame.text) == ("PRESENTATION A", "SLOWLY SPEAK")


def test_odt(tmp_path: Path) -> None:
    path = tmp_path / "a.odt"
    text = odfdo.Document("text")
    text.body.clear()
    paragraph = odfdo.Paragraph("Some red words here.")
    paragraph.set_span("x", regex="red words")
    text.body.append(odfdo.Header(1, "A title"))
    text.body.append(paragraph)
    text.save(str(path))
    source = path.read_bytes()
    path.write_bytes(translated(document("odt", source), turned_round))
    body = odfdo.Document(str(path)).body
    assert body.headers[0].inner_text == "TITLE A"
    assert body.paragraphs[0].inner_text == "HERE. WORDS RED SOME"
    assert [span.inner_text for span in body.spans] == ["WORDS RED"]
    assert ZipContainer(source, "x").names == ZipContainer(path.read_bytes(), "x").names
