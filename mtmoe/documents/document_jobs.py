"""What the caller of a translation of documents says and hears; apart from it, for models take time to import."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mtmoe.documents.registry import DocumentFormat
from mtmoe.inference.files.translation_options import TranslationListener


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


class SourceDocument(NamedTuple):
    """A document to translate: its file, and its format."""

    path: Path
    format: DocumentFormat
