"""Documents of ``mtmoe translate``: which files are some, their options, and how their translation is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from mtmoe.documents.document import DOCUMENT_PARTS, USUAL_PARTS, DocumentPart
from mtmoe.documents.document_jobs import DocumentCounts, DocumentListener, DocumentWishes, SourceDocument
from mtmoe.documents.registry import DOCUMENT_FORMATS, format_of_file
from mtmoe.inference.files.line_formats import LINE_FORMATS
from mtmoe.inference.files.translation_options import TranslatedLines, TranslationOptions

from .console import note
from .options import FILE
from .translation_display import TranslationNotes, progress_once_told


class _PartsType(click.ParamType):
    """Names with commas between, or ``none``."""

    name = "parts"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        names = [] if value == "none" else value.split(",")
        for name in names:
            if name not in DOCUMENT_PARTS:
                self.fail(f"{name!r} is none of {', '.join(DOCUMENT_PARTS)}, none", parameter, context)
        return tuple(part for part in DOCUMENT_PARTS if part in names)


def document_wishes(
    parts: tuple[DocumentPart, ...] | None,
    memory: Path | None,
    direction: str | None,
    column: int | None,
    *,
    retranslate: bool,
    is_document: bool,
) -> DocumentWishes:
    """Return the options of documents, as they were given.

    Raises:
        click.UsageError: one was given, and there is no document.
    """
    given = {
        "--document-parts": parts is not None,
        "--retranslate": retranslate,
        "--memory": memory is not None,
        "--direction": direction is not None,
    }
    for option, is_given in given.items():
        if is_given and not is_document:
            raise click.UsageError(f"{option} belongs to documents, not to lines; name their format with --format")
    return DocumentWishes(USUAL_PARTS if parts is None else parts, retranslate, memory, direction, column)


def document_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of documents to a command."""
    for option in reversed(
        (
            click.option(
                "--document-parts",
                "document_parts",
                type=_PartsType(),
                metavar="PARTS",
                help=f"What is translated of a document besides its text: {', '.join(DOCUMENT_PARTS)}, with commas "
                f"between, or none.  [default: {','.join(USUAL_PARTS)}]",
            ),
            click.option(
                "--retranslate", is_flag=True, help="Translate what has a translation in the document already, too."
            ),
            click.option(
                "--memory",
                "memory_path",
                type=FILE,
                metavar="FILE.tmx",
                help="Translations that a document gets where its text is the very same.",
            ),
            click.option(
                "--direction",
                metavar="SOURCE-TARGET",
                help="Of a document, such as en-de, where RUN translates in several.",
            ),
        )
    ):
        command = option(command)
    return command


def documents_among(inputs: Sequence[Path], format_name: str | None) -> list[SourceDocument]:
    """Return the documents among files, by the name of a format, else by their names and contents.

    Raises:
        UserError: a file cannot be read, or is a document of an unknown format.
        click.UsageError: some are documents, and some have lines.
    """
    if format_name in LINE_FORMATS:
        return []
    if format_name is not None:
        return [SourceDocument(path, DOCUMENT_FORMATS[format_name]) for path in inputs]
    found = [(path, format_of_file(path)) for path in inputs]
    documents = [SourceDocument(path, format) for path, format in found if format is not None]
    if documents and len(documents) < len(found):
        lines = next(path for path, format in found if format is None)
        raise click.UsageError(
            f"{documents[0].path} is a document ({documents[0].format.name}), and {lines} has lines: translate them in "
            "two commands, or say --format"
        )
    return documents


class _DocumentNotes(TranslationNotes, DocumentListener):
    """Notes on standard error about what happens."""

    def counted(self, path: Path, counts: DocumentCounts) -> None:
        found = [f"{counts.num_lines:,} sentences to translate"]
        if counts.num_known:
            found.append(f"{counts.num_known:,} from the memory")
        if counts.num_kept:
            found.append(f"{counts.num_kept:,} segments have a translation, which stays")
        note(f"{path}: {', '.join(found)}")


def translate_as_documents(
    options: TranslationOptions,
    sources: Sequence[SourceDocument],
    output: Path | None,
    output_dir: Path | None,
    wishes: DocumentWishes,
    *,
    resume: bool,
) -> TranslatedLines:
    """Translate documents to files.

    Raises:
        UserError: as :func:`mtmoe.documents.translate_documents.translate_documents`.
    """
    from mtmoe.documents.translate_documents import translate_documents

    with progress_once_told() as progress:
        return translate_documents(
            options,
            sources,
            output,
            output_dir=output_dir,
            wishes=wishes,
            resume=resume,
            progress=progress,
            listener=_DocumentNotes(),
        )


def translate_one_document(
    options: TranslationOptions, content: bytes, source: SourceDocument, wishes: DocumentWishes
) -> bytes:
    """Return the translation of a document, all of it in memory.

    Raises:
        UserError: as :func:`mtmoe.documents.translate_documents.translate_to_bytes`.
    """
    from mtmoe.documents.translate_documents import translate_to_bytes

    return translate_to_bytes(options, content, source, wishes, _DocumentNotes())
