"""Formats of documents by name: the one place where a format is told from a file's name or content."""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import Any, BinaryIO, NamedTuple

from mtmoe.documents.document import Document, DocumentOptions, PieceSize
from mtmoe.documents.zip_container import ZipContainer, is_zip
from mtmoe.errors import UserError
from mtmoe.system.readable_files import check_readable, read_bytes

MOST_DOCUMENT_BYTES = 1 << 29
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


class DocumentFormat(NamedTuple):
    """A format: how it is called, its module in ``formats/``, what names of its files end in, and its MIME type.

    in_pieces: files are read and written bit by bit, so that they may be of any size.
    """

    name: str
    module: str
    suffixes: tuple[str, ...]
    mime_type: str
    in_pieces: bool = False

    def read(self, content: bytes, name: str, options: DocumentOptions) -> Document:
        """Read a document.

        Args:
            name: of the file, for errors.

        Raises:
            UserError: it is damaged, or of another format; a package is not installed.
        """
        module = self._imported(name)
        if self.in_pieces:
            [whole] = module.read_pieces(io.BytesIO(content), name, options)
            return whole  # type: ignore[no-any-return]
        reader: Callable[[bytes, str, DocumentOptions], Document] = module.read
        return reader(content, name, options)

    def pieces(self, path: Path, options: DocumentOptions) -> Iterator[Document]:
        """Yield the pieces of a file, which together are the document; all of it at once where the format knows none.

        Raises:
            UserError: as :meth:`read`; the file cannot be read, or is too large to be held in memory.
        """
        if not self.in_pieces:
            yield self.read(read_document(path), str(path), options)
            return
        read_pieces: Callable[[BinaryIO, str, DocumentOptions, PieceSize], Iterator[Document]]
        read_pieces = self._imported(str(path)).read_pieces
        with check_readable(path).open("rb") as stream:
            yield from read_pieces(stream, str(path), options, PieceSize())

    def _imported(self, name: str) -> Any:
        try:
            return importlib.import_module(f"mtmoe.documents.formats.{self.module}")
        except ModuleNotFoundError as error:
            raise UserError(
                f"{name}: {self.name} needs the package {error.name}, which is not installed",
                fix="pip install 'mtmoe[documents]'",
            ) from None


_OFFICE = "application/vnd.openxmlformats-officedocument"
_OPEN = "application/vnd.oasis.opendocument"
DOCUMENT_FORMATS: dict[str, DocumentFormat] = {
    each.name: each
    for each in (
        DocumentFormat("html", "html", (".html", ".htm", ".xhtml"), "text/html"),
        DocumentFormat(
            "xliff", "xliff", (".xlf", ".xliff", ".sdlxliff", ".mxliff", ".mqxliff"), "application/xliff+xml"
        ),
        DocumentFormat("tmx", "tmx", (".tmx",), "application/x-tmx+xml", in_pieces=True),
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
        DocumentFormat("csv", "csv_cells", (".csv",), "text/csv", in_pieces=True),
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


def format_of_file(path: Path) -> DocumentFormat | None:
    """Return the format of a file, as :func:`format_of` does; None also for a pipe, and for what is not there.

    Raises:
        UserError: it is a document of a format that is not known, or a zip file that cannot be read.
    """
    if not path.is_file():
        return None
    by_name = format_of(path.name)
    if by_name is not None:
        return by_name
    try:
        with path.open("rb") as file:
            beginning = file.read(_BEGINNING_BYTES)
    except OSError:
        return None  # who reads it tells the reason
    return format_of(str(path), read_bytes(path) if is_zip(beginning) else beginning)


def read_document(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        UserError: it cannot be read, or is too large to be held in memory.
    """
    try:
        size = path.stat().st_size
    except OSError:
        size = 0  # the reading tells why
    if size > MOST_DOCUMENT_BYTES:
        raise UserError(
            f"{path}: has {size:,} bytes, and a document is held in memory: {MOST_DOCUMENT_BYTES:,} are the most",
            fix="divide it",
        )
    return read_bytes(path)


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
