"""Formats of documents by name: the one place where a format is told from a file's name or content."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import PurePath
from typing import NamedTuple

from mtmoe.documents.document import Document, DocumentOptions
from mtmoe.documents.zip_container import ZipContainer, is_zip
from mtmoe.errors import UserError

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


class DocumentFormat(NamedTuple):
    """A format: how it is called, its module in ``formats/``, what names of its files end in, and its MIME type."""

    name: str
    module: str
    suffixes: tuple[str, ...]
    mime_type: str

    def read(self, content: bytes, name: str, options: DocumentOptions) -> Document:
        """Read a document.

        Args:
            name: of the file, for errors.

        Raises:
            UserError: it is damaged, or of another format; a package is not installed.
        """
        try:
            module = importlib.import_module(f"mtmoe.documents.formats.{self.module}")
        except ModuleNotFoundError as error:
            raise UserError(
                f"{name}: {self.name} needs the package {error.name}, which is not installed",
                fix="pip install 'mtmoe[documents]'",
            ) from None
        reader: Callable[[bytes, str, DocumentOptions], Document] = module.read
        return reader(content, name, options)


_OFFICE = "application/vnd.openxmlformats-officedocument"
_OPEN = "application/vnd.oasis.opendocument"
DOCUMENT_FORMATS: dict[str, DocumentFormat] = {
    each.name: each
    for each in (
        DocumentFormat("html", "html", (".html", ".htm", ".xhtml"), "text/html"),
        DocumentFormat(
            "xliff", "xliff", (".xlf", ".xliff", ".sdlxliff", ".mxliff", ".mqxliff"), "application/xliff+xml"
        ),
        DocumentFormat("tmx", "tmx", (".tmx",), "application/x-tmx+xml"),
        DocumentFormat("po", "po", (".po", ".pot"), "text/x-gettext-translation"),
        DocumentFormat("markdown", "markdown", (".md", ".markdown"), "text/markdown"),
        DocumentFormat("srt", "subtitles", (".srt",), "application/x-subrip"),
        DocumentFormat("vtt", "subtitles", (".vtt",), "text/vtt"),
        DocumentFormat("docx", "office_open_xml", (".docx", ".docm"), f"{_OFFICE}.wordprocessingml.document"),
        DocumentFormat("xlsx", "office_open_xml", (".xlsx", ".xlsm"), f"{_OFFICE}.spreadsheetml.sheet"),
        DocumentFormat("pptx", "office_open_xml", (".pptx", ".pptm"), f"{_OFFICE}.presentationml.presentation"),
        DocumentFormat("odt", "open_document", (".odt", ".ott"), f"{_OPEN}.text"),
        DocumentFormat("ods", "open_document", (".ods", ".ots"), f"{_OPEN}.spreadsheet"),
        DocumentFormat("odp", "open_document", (".odp", ".otp"), f"{_OPEN}.presentation"),
        DocumentFormat("epub", "epub", (".epub",), "application/epub+zip"),
        DocumentFormat("json-strings", "json_strings", (".json",), "application/json"),
        DocumentFormat("yaml", "yaml_strings", (".yaml", ".yml"), "application/yaml"),
        DocumentFormat("csv", "csv_cells", (".csv",), "text/csv"),
    )
}
"""All formats by name: what ``mtmoe translate --format`` offers besides lines."""
PLAIN_TEXT = DocumentFormat("txt", "plain_text", (".txt",), "text/plain")
"""Of a server; `mtmoe translate` has lines for it."""
_BY_SUFFIX = {suffix: each for each in DOCUMENT_FORMATS.values() for suffix in each.suffixes}
_BY_ROOT = {b"xliff": "xliff", b"tmx": "tmx", b"html": "html"}
_ROOT = re.compile(
    rb"^(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*(?:<!DOCTYPE\s+(\w+)|<(\w+))",
    re.DOTALL | re.IGNORECASE,
)
_BEGINNING_BYTES = 4096


def format_of(name: str, content: bytes = b"") -> DocumentFormat | None:
    """Return the format of a file by its name, else by how it begins; None if it is no document but lines of text.

    Raises:
        UserError: it is a document of a format that is not known.
    """
    suffix = PurePath(name).suffix.lower()
    found = _BY_SUFFIX.get(suffix)
    if found is not None:
        return found
    if content.startswith(_OLE):
        raise UserError(
            f"{name}: is encrypted with a password, or of the format before 2007 (.doc, .xls, .ppt)",
            fix="open it and save it without a password, in the newer format",
        )
    if is_zip(content):
        return _format_of_container(ZipContainer(content, name))
    match = _ROOT.match(content[:_BEGINNING_BYTES])
    root = (match[1] or match[2]).lower() if match else b""
    return DOCUMENT_FORMATS.get(_BY_ROOT.get(root, ""))


def _format_of_container(container: ZipContainer) -> DocumentFormat:
    names = set(container.names)
    by_member = {"word/document.xml": "docx", "xl/workbook.xml": "xlsx", "ppt/presentation.xml": "pptx"}
    known = next((name for member, name in by_member.items() if member in names), "")
    if "mimetype" in names:
        mime_type = container.read("mimetype").decode("ascii", "replace").strip()
        known = next((each.name for each in DOCUMENT_FORMATS.values() if each.mime_type == mime_type), known)
    if known not in DOCUMENT_FORMATS:
        raise UserError(
            f"{container.name}: is a zip file, but no document of a known format",
            fix=f"translate what is in it; formats: {', '.join(DOCUMENT_FORMATS)}",
        )
    return DOCUMENT_FORMATS[known]
