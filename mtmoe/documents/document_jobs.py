"""What the caller of a translation of documents says and hears; apart from it, for models take time to import."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mtmoe.documents.document import USUAL_PARTS, DocumentPart
from mtmoe.documents.registry import DOCUMENT_FORMATS, DocumentFormat, format_of_file
from mtmoe.errors import UserError
from mtmoe.inference.files.translation_options import TranslationListener
from mtmoe.system.readable_files import check_readable


class DocumentWishes(NamedTuple):
    """What is translated of a document, and how."""

    parts: tuple[DocumentPart, ...] = USUAL_PARTS
    """Besides its text: of ``headers`` (and footers), ``notes``, ``comments``, ``alt-texts``."""
    retranslate: bool = False
    """Translate what has a translation in the document already, too."""
    memory: Path | None = None
    """A TMX file; where a text of the document is the very same, it gets the translation from there."""
    direction: str | None = None
    """Such as en-de, where the run translates in several."""
    column: int | None = None
    """Of a table, from 1; None: all."""


class DocumentCounts(NamedTuple):
    """What there is to do in a document: lines to translate, those that a memory spares, and segments that have a
    translation in it."""

    num_lines: int
    num_known: int
    num_kept: int


class DocumentListener(TranslationListener):
    """What is told while documents are translated."""

    def counted(self, path: Path, counts: DocumentCounts) -> None:
        """Hear what there is to do in a document."""


NO_LISTENER = DocumentListener()
NO_WISHES = DocumentWishes()


class SourceDocument(NamedTuple):
    """A document to translate: its file, and its format."""

    path: Path
    format: DocumentFormat

    @classmethod
    def at(cls, path: Path, format_name: str | None = None) -> SourceDocument:
        """Return the document in a file; its format by name, by default that of the file's name, else of its content.

        Raises:
            UserError: no known format, or a file that cannot be read.
        """
        if format_name is None:
            found = format_of_file(check_readable(path))
        else:
            found = DOCUMENT_FORMATS.get(format_name)
        if found is None:
            what = f"{path}: is" if format_name is None else f"{format_name!r} is the format of"
            raise UserError(f"{what} no document that is known", fix=f"name its format: {', '.join(DOCUMENT_FORMATS)}")
        return cls(path, found)
