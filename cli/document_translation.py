"""Documents of ``mtmoe translate``: which files are some, the options that belong to them, and their translation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from mtmoe.documents.document import DOCUMENT_PARTS, USUAL_PARTS, DocumentOptions, DocumentPart
from mtmoe.documents.document_jobs import DocumentCounts, DocumentListener, SourceDocument
from mtmoe.documents.registry import DOCUMENT_FORMATS, DocumentFormat, format_of
from mtmoe.errors import UserError
from mtmoe.inference.files.line_formats import LINE_FORMATS
from mtmoe.inference.files.translation_options import TranslatedLines, TranslationOptions
from mtmoe.system.readable_files import read_bytes

from .console import note
from .options import FILE
from .translation_display import TranslationNotes, progress_once_told

if TYPE_CHECKING:
    from mtmoe.documents.translation_memory import TranslationMemory

_BEGINNING_BYTES = 4096


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


class DocumentWishes(NamedTuple):
    """The options of documents, as they were given."""

    parts: tuple[DocumentPart, ...] | None = None
    retranslate: bool = False
    memory: Path | None = None
    direction: str | None = None

    def check_unused(self) -> None:
        """Raise a usage error if one was given, and there is no document."""
        given = {
            "--document-parts": self.parts is not None,
            "--retranslate": self.retranslate,
            "--memory": self.memory is not None,
            "--direction": self.direction is not None,
        }
        for option, is_given in given.items():
            if is_given:
                raise click.UsageError(f"{option} belongs to documents, not to lines; name their format with --format")


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
    found = [(path, _format_of(path)) for path in inputs]
    documents = [SourceDocument(path, format) for path, format in found if format is not None]
    if documents and len(documents) < len(found):
        lines = next(path for path, format in found if format is None)
        raise click.UsageError(
            f"{documents[0].path} is a document ({documents[0].format.name}), and {lines} has lines: translate them in "
            "two commands, or say --format"
        )
    return documents


def _format_of(path: Path) -> DocumentFormat | None:
    if not path.is_file():
        return None  # a pipe; what is not there is told of when it is opened
    by_name = format_of(path.name)
    if by_name is not None:
        return by_name
    try:
        with path.open("rb") as file:
            beginning = file.read(_BEGINNING_BYTES)
    except OSError:
        return None
    return format_of(str(path), read_bytes(path) if beginning.startswith(b"PK\x03\x04") else beginning)


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
    column: int | None,
    resume: bool,
) -> TranslatedLines:
    """Translate documents to files.

    Raises:
        UserError: as :func:`mtmoe.documents.translate_documents.translate_documents`.
    """
    from mtmoe.documents.translate_documents import translate_documents

    chosen, token, memory = _chosen(options.run, wishes, column)
    with progress_once_told() as progress:
        return translate_documents(
            options,
            sources,
            output,
            output_dir=output_dir,
            document_options=chosen,
            token=token,
            memory=memory,
            resume=resume,
            progress=progress,
            listener=_DocumentNotes(),
        )


def translate_one_document(
    options: TranslationOptions,
    content: bytes,
    source: SourceDocument,
    wishes: DocumentWishes,
    *,
    column: int | None,
) -> bytes:
    """Return the translation of a document, all of it in memory.

    Raises:
        UserError: as :func:`mtmoe.documents.translate_documents.translate_document`.
    """
    from mtmoe.documents.translate_documents import lines_translator, translate_document

    chosen, token, memory = _chosen(options.run, wishes, column)
    with lines_translator(options, token, _DocumentNotes()) as translate:
        return translate_document(content, str(source.path), source.format, translate, chosen, memory)


def _chosen(
    run: Path | str, wishes: DocumentWishes, column: int | None
) -> tuple[DocumentOptions, str, TranslationMemory | None]:
    """Return what is translated of a document, the token of a multilingual run, and the memory."""
    from mtmoe.documents.translation_memory import TranslationMemory

    source, target, token = _direction(run, wishes.direction)
    parts = USUAL_PARTS if wishes.parts is None else wishes.parts
    chosen = DocumentOptions(source, target, parts, wishes.retranslate, column)
    return chosen, token, TranslationMemory.of_tmx(wishes.memory, source, target) if wishes.memory else None


def _direction(run: Path | str, direction: str | None) -> tuple[str, str, str]:
    """Return the languages of a run, and the token that a multilingual one reads in front of a line.

    Raises:
        UserError: the run has several directions and none is named, or it has another one.
    """
    from mtmoe.checkpoint import open_model
    from mtmoe.data.cleaning.language_tokens import language_token
    from mtmoe.languages import normal_code, parse_direction

    data = open_model(Path(run)).recipe().data
    if data.multilingual is None:
        own = f"{data.source_language}-{data.target_language}"
        if direction is not None and not _same(parse_direction(direction), parse_direction(own)):
            raise UserError(f"--direction {direction}: {run} translates {own}", fix="leave it out")
        return data.source_language, data.target_language, ""
    trained = sorted({source.direction for source in data.train if source.direction})
    if direction is None:
        raise UserError(f"{run} translates in several directions", fix=f"--direction, one of {', '.join(trained)}")
    wanted = parse_direction(direction)
    found = next((each for each in trained if _same(parse_direction(each), wanted)), None)
    if found is None:
        raise UserError(f"--direction {direction}: {run} does not translate so", fix=f"one of {', '.join(trained)}")
    return normal_code(wanted.source), normal_code(wanted.target), language_token(found)


def _same(one: Any, other: Any) -> bool:
    from mtmoe.languages import same_language

    return same_language(one.source, other.source) and same_language(one.target, other.target)
