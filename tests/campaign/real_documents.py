"""Real files through their formats and back: ``python -m tests.campaign.real_documents FILE_OR_FOLDER...``.

Each file is translated twice, into itself and with its words turned round. The first must say the same as before to a
second reader; both must have the same skeleton: what is left when all text is taken out.
"""

from __future__ import annotations

import argparse
import collections
import csv
import io
import json
import re
import sys
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import docx
import odfdo
import openpyxl
import polib
import pptx
import pysubs2
import yaml
from lxml import etree, html
from markdown_it import MarkdownIt

from mtmoe.documents.document import DOCUMENT_PARTS, DocumentOptions
from mtmoe.documents.registry import DocumentFormat, format_of
from mtmoe.errors import UserError
from tests.documents.made_up_translations import as_it_is, translated, turned_round

OPTIONS = DocumentOptions("en", "fr", DOCUMENT_PARTS, retranslate=True)


def _words(text: str) -> str:
    return " ".join(text.split())


def _html_text(content: bytes) -> str:
    return "".join("".join(html.fromstring(content).itertext()).split())


def _zip_text(content: bytes) -> str:
    """Return the text of all XML in a container."""
    texts = []
    with zipfile.ZipFile(io.BytesIO(content)) as container:
        assert container.testzip() is None
        for name in container.namelist():
            if not name.startswith("META-INF") and name.endswith((".xml", ".xhtml", ".html", ".ncx", ".opf")):
                xml = container.read(name)
                texts.append(
                    "".join("".join(etree.fromstring(xml, etree.XMLParser(recover=True)).itertext()).split())
                    if xml
                    else ""
                )
    return "\n".join(texts)


def _opened(library: Callable[[io.BytesIO], object]) -> Callable[[bytes], str]:
    def read(content: bytes) -> str:
        library(io.BytesIO(content))
        return _zip_text(content)

    return read


def _markdown_text(content: bytes) -> str:
    return _words(re.sub(r"\s+", " ", MarkdownIt("commonmark").enable(["table"]).render(content.decode())))


def _po_text(content: bytes) -> str:
    return "\n".join(f"{entry.msgid} {entry.msgctxt} {entry.comment}" for entry in polib.pofile(content.decode()))


SECOND_READERS: dict[str, Callable[[bytes], str]] = {
    "html": _html_text,
    "docx": _opened(docx.Document),
    "xlsx": _opened(openpyxl.load_workbook),
    "pptx": _opened(pptx.Presentation),
    "odt": _opened(odfdo.Document),
    "ods": _opened(odfdo.Document),
    "odp": _opened(odfdo.Document),
    "epub": _zip_text,
    "xliff": lambda content: "".join("".join(each.itertext()) for each in etree.fromstring(content).iter("{*}source")),
    "tmx": lambda content: str(len(list(etree.fromstring(content).iter("tu")))),
    "po": _po_text,
    "markdown": _markdown_text,
    "srt": lambda content: str([(line.start, line.end) for line in pysubs2.SSAFile.from_string(content.decode())]),
    "vtt": lambda content: str([(line.start, line.end) for line in pysubs2.SSAFile.from_string(content.decode())]),
    "json-strings": lambda content: _words(str(json.loads(content))),
    "yaml": lambda content: _words(str(list(yaml.safe_load_all(content)))),
    "csv": lambda content: str(list(csv.reader(io.StringIO(content.decode())))),
}


def problems(path: Path, format: DocumentFormat, content: bytes) -> Iterator[str]:
    """Yield what is wrong with the translations of a file."""
    document = format.read(content, path.name, OPTIONS)
    read = SECOND_READERS[format.name]
    same = translated(document, as_it_is)
    if read(same) != read(content):
        yield "says something else to the second reader"
    turned = translated(format.read(content, path.name, OPTIONS), turned_round)
    read(turned)
    again = format.read(turned, path.name, OPTIONS)
    if len(again.lines) < len(document.lines) / 2:
        yield f"has {len(again.lines)} sentences in place of {len(document.lines)}"
    if format.name in ("html", "epub", "odt", "ods", "odp") and _tags(turned) != _tags(content):
        yield f"has other tags: {_tags(turned) - _tags(content)} too many, {_tags(content) - _tags(turned)} lost"


def _tags(content: bytes) -> collections.Counter[bytes]:
    tags: collections.Counter[bytes] = collections.Counter()
    members = [content]
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as container:
            members = [container.read(name) for name in container.namelist() if name.endswith(("ml", ".ncx"))]
    for member in members:
        tags.update(re.findall(rb"</?[A-Za-z][\w:.-]*", member))
    return tags


def main() -> int:
    """Return 0 if nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--most", type=int, default=10_000, help="files of each format")
    arguments = parser.parse_args()
    began = time.process_time()
    files = [f for p in arguments.paths for f in (sorted(p.rglob("*")) if p.is_dir() else [p]) if f.is_file()]
    counts: collections.Counter[str] = collections.Counter()
    num_refused = num_found = 0
    for path in files:
        content = path.read_bytes()
        try:
            format = format_of(path.name, content)
        except UserError:
            continue
        if format is None or counts[format.name] >= arguments.most:
            continue
        counts[format.name] += 1
        try:
            found = list(problems(path, format, content))
        except UserError as error:
            num_refused += 1
            print(f"{path}: refused: {error.problem}")
            continue
        except Exception:
            found = [traceback.format_exc(limit=-3)]
        num_found += len(found)
        for problem in found:
            print(f"{path}: {problem[:600]}", flush=True)
    print(
        f"{dict(counts)}: {num_refused} refused, {num_found} findings, {time.process_time() - began:.0f} s of one core"
    )
    return int(num_found > 0)


if __name__ == "__main__":
    sys.exit(main())
