"""Translation of documents to documents, each of which can be gone on with after an interruption.

What is kept meanwhile beside the output are the translations of its lines, as for any file
(`mtmoe/inference/files/resumable_output.py`); the document is made of them in the end. A document of a format that is
read in pieces (:class:`mtmoe.documents.document.Pieces`) is read three times: its lines are counted, translated piece
by piece, and put in their places. No more than a piece of it is in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from mtmoe.checkpoint import open_model
from mtmoe.documents.document import Document, PieceSize
from mtmoe.documents.document_jobs import (
    NO_LISTENER,
    NO_WISHES,
    DocumentCounts,
    DocumentListener,
    DocumentWishes,
    SourceDocument,
)
from mtmoe.documents.registry import DOCUMENT_FORMATS, DocumentFormat, format_of
from mtmoe.documents.tokens import LineTranslation, Translated
from mtmoe.documents.wanted_documents import WantedOfDocuments, wanted_of_documents
from mtmoe.errors import UserError
from mtmoe.inference.files.answers import Answers, TranslateChunks, chunk_translator
from mtmoe.inference.files.line_chunks import ChunkSize, RawLine
from mtmoe.inference.files.line_formats import FormatOptions, LineFormat, ParsedLine
from mtmoe.inference.files.model_identity import model_identity
from mtmoe.inference.files.resumable_output import InputFile, ResumableOutput
from mtmoe.inference.files.translate_files import output_conflict
from mtmoe.inference.files.translation_options import NOBODY, TranslatedLines, TranslationListener, TranslationOptions
from mtmoe.inference.requests import Request
from mtmoe.inference.translation import Translation
from mtmoe.inference.translator import Translator
from mtmoe.progress import Progress, silent
from mtmoe.system.atomic_files import make_directory
from mtmoe.system.readable_files import check_readable

_BLOCK_BYTES = 1 << 20


class SegmentFormat(LineFormat):
    """Lines of documents: each answer has text and alignment, which counts no language token."""

    name = "segments"

    def __init__(self, token: str = "") -> None:
        """Take the token that a multilingual run reads in front of a line; else empty."""
        super().__init__(FormatOptions(with_alignment=True))
        self._token = token

    def read(self, line: str, number: int) -> ParsedLine:
        return ParsedLine(Request(f"{self._token} {line}" if self._token else line, number=number))

    def write(self, line: ParsedLine, translation: Translation) -> str:
        return json.dumps({"text": translation.text, "alignment": self.links_of(translation)}) + "\n"

    def links_of(self, translation: Translation) -> tuple[tuple[int, int], ...]:
        """Return the alignment of a translation without the token."""
        skipped = bool(self._token)
        return tuple((source - skipped, word) for source, word in translation.alignment if source >= skipped)


def answered(lines: Iterable[bytes]) -> Iterator[LineTranslation]:
    """Yield the translations that :class:`SegmentFormat` has written."""
    for entry in map(json.loads, lines):
        yield LineTranslation(entry["text"], tuple((i, j) for i, j in entry["alignment"]))


def translate_document(
    options: TranslationOptions,
    source: Path,
    output: Path,
    wishes: DocumentWishes = NO_WISHES,
    *,
    format: str | None = None,
    resume: bool = False,
    progress: Progress = silent,
    listener: DocumentListener = NO_LISTENER,
) -> TranslatedLines:
    """Translate a document to a document, as ``mtmoe translate RUN source --output output`` does.

    Args:
        options: which run translates, and how; its format is of no interest.
        format: its name; by default it is told by the name of the file, else by its content.
        resume: go on where an earlier call with the same arguments stopped.
        progress: told about lines, in the stage "translate".

    Returns:
        The number of lines that were translated, and what is suspicious of them.

    Raises:
        UserError: the document cannot be read, is damaged, or of no known format; the output cannot be gone on with; as
            :class:`mtmoe.Translator`.
        OSError: the output cannot be written.
    """
    found = SourceDocument.at(source, format)
    return translate_documents(
        options, [found], output, wishes=wishes, resume=resume, progress=progress, listener=listener
    )


def translate_documents(
    options: TranslationOptions,
    sources: Sequence[SourceDocument],
    output: Path | None = None,
    *,
    output_dir: Path | None = None,
    wishes: DocumentWishes = NO_WISHES,
    resume: bool = False,
    progress: Progress = silent,
    listener: DocumentListener = NO_LISTENER,
) -> TranslatedLines:
    """Translate documents to documents.

    Args:
        options: which run translates, and how; its format is of no interest.
        output: of the only source.
        output_dir: instead of ``output``: the directory of a file of the same name for each source.
        resume: go on where an earlier call with the same arguments stopped.

    Returns:
        The number of all lines that were translated, and what is suspicious of them.

    Raises:
        UserError: a document cannot be read, or is damaged; an output cannot be gone on with; as
            :class:`mtmoe.Translator`.
        OSError: an output cannot be written.
        ValueError: there is not exactly one of ``output`` and ``output_dir``, or one output for several sources.
    """
    if (output is None) == (output_dir is None) or (output is not None and len(sources) != 1):
        raise ValueError("give either output, for one source, or output_dir")
    paths = [source.path for source in sources]
    if complaint := output_conflict(paths, output, output_dir):
        raise UserError(complaint, fix="write to another file or directory")
    wanted = wanted_of_documents(options.run, open_model(options.run).recipe().data, wishes)
    options = options._replace(format=SegmentFormat(wanted.token))
    identity = {
        **model_identity(options),
        "output": options.format.identity(),
        "document": {
            **{**wanted.options._asdict(), "parts": list(wanted.options.parts)},
            "memory": wanted.memory.digest if wanted.memory else "",
            "token": wanted.token,
        },
    }
    if output_dir is not None:
        make_directory(output_dir)
    names = [path.name for path in paths] if output_dir else []
    jobs = [
        _Job(source, output or (output_dir or Path()) / source.path.name, wanted, identity, names) for source in sources
    ]
    for job in jobs:
        listener.counted(job.source.path, job.counts)
    begun = {name for job in jobs for name in job.output.begun_outputs()} if resume else set()
    answers = Answers(options, listener)
    total = sum(job.counts.num_lines for job in jobs)
    with chunk_translator(options, listener) as translate_chunks:
        if not resume:  # not before the models and settings are known to be good: what is unfinished is lost with it
            for job in jobs:
                job.output.begin()

        def told(num_done: int) -> None:
            progress("translate", min(num_done, total), total, "lines")

        for job in jobs:
            _do_job(job, answers, translate_chunks, told, listener, resume=resume, begun=begun)
        progress("translate", total, total, "lines")
    for job in jobs:
        job.output.remove_journal()
    return answers.result()


def translate_document_content(
    translator: Translator,
    content: bytes,
    name: str,
    wishes: DocumentWishes = NO_WISHES,
    *,
    format: str | None = None,
) -> bytes:
    """Return a document with its text translated, all of it in memory, by a translator that is loaded.

    Args:
        name: of its file, for errors, and for its format where none is named.
        format: its name; by default it is told by ``name``, else by the content.

    Raises:
        UserError: it is damaged, or of no known format; wishes that the translator cannot fulfil.
    """
    found = format_of(name, content) if format is None else DOCUMENT_FORMATS.get(format)
    if found is None:
        raise UserError(
            f"{name}: is no document of a known format", fix=f"name its format: {', '.join(DOCUMENT_FORMATS)}"
        )
    wanted = wanted_of_documents("the run", translator.loaded.recipe.data, wishes)
    lines = SegmentFormat(wanted.token)

    def translate(texts: Sequence[str]) -> list[LineTranslation]:
        requests = [lines.read(text, number).request for number, text in enumerate(texts)]
        translations = translator.translate(requests, with_alignment=True, with_scores=False)
        return [LineTranslation(each.text, lines.links_of(each)) for each in translations]

    return translated_content(content, name, found, translate, wanted)


def translated_content(
    content: bytes,
    name: str,
    format: DocumentFormat,
    translate: Callable[[Sequence[str]], Sequence[Translated]],
    wanted: WantedOfDocuments,
) -> bytes:
    """Return a document with its text translated, all of it in memory.

    Args:
        name: of the file, for errors.
        translate: returns the translations of lines.

    Raises:
        UserError: it is damaged, or of another format.
    """
    document = format.read(content, name, wanted.options)
    if wanted.memory is not None:
        document.take_known(wanted.memory.known)
    translations = translate(document.lines)
    return document.content(translations, translate(document.second_lines(translations)))


def translate_to_bytes(
    options: TranslationOptions,
    content: bytes,
    source: SourceDocument,
    wishes: DocumentWishes,
    listener: TranslationListener = NOBODY,
) -> bytes:
    """Return the translation of a document, all of it in memory, by a run that is loaded for it.

    Args:
        source: where the content comes from.

    Raises:
        UserError: as :func:`translate_document`.
    """
    wanted = wanted_of_documents(options.run, open_model(options.run).recipe().data, wishes)
    with _lines_translator(options, wanted.token, listener) as translate:
        return translated_content(content, str(source.path), source.format, translate, wanted)


@contextlib.contextmanager
def _lines_translator(
    options: TranslationOptions, token: str, listener: TranslationListener
) -> Iterator[Callable[[Sequence[str]], list[LineTranslation]]]:
    """Load the model, and yield what translates lines, all of them in memory."""
    options = options._replace(format=SegmentFormat(token))
    answers = Answers(options, listener)
    with chunk_translator(options, listener) as translate_chunks:

        def translate(lines: Sequence[str]) -> list[LineTranslation]:
            chunks = _divided(lines, 0, answers.chunk_size)
            found = answers.translated(chunks, translate_chunks)
            return [each for text, _, _ in found for each in _answered_in(text)]

        yield translate


class _Job:
    """A document to translate. counts: what there is to do. output: what it becomes."""

    def __init__(
        self,
        source: SourceDocument,
        output: Path,
        wanted: WantedOfDocuments,
        identity: dict[str, Any],
        names: Sequence[str],
    ) -> None:
        """Read the document once.

        Raises:
            UserError: it cannot be read, or is damaged.
        """
        self.source, self._wanted = source, wanted
        self._whole: Document | None = None
        self._digest = _digest(source.path)
        num_lines = num_known = num_kept = 0
        for piece in source.format.pieces(source.path, wanted.options):
            num_known += self._known_in(piece)
            num_lines += len(piece.lines)
            num_kept += piece.num_kept
            if not source.format.in_pieces:
                self._whole = piece
        self.counts = DocumentCounts(num_lines, num_known, num_kept)
        self.output = ResumableOutput(
            output,
            {**identity, "document_format": source.format.name, **_order_of_lines(source.format)},
            [InputFile(str(source.path), num_lines, self._digest)],
            outputs=names,
            composed=self._composed,
        )

    def _known_in(self, piece: Document) -> int:
        return piece.take_known(self._wanted.memory.known) if self._wanted.memory is not None else 0

    def pieces(self) -> Iterator[Document]:
        """Yield the pieces of the document.

        Raises:
            UserError: the file is no longer what it was.
        """
        if self._whole is not None:
            yield self._whole
            return
        if _digest(self.source.path) != self._digest:
            raise UserError(f"{self.source.path}: was changed while it was translated", fix="translate it anew")
        for piece in self.source.format.pieces(self.source.path, self._wanted.options):
            self._known_in(piece)
            yield piece

    def _composed(self, written: BinaryIO) -> Iterator[bytes]:
        """Yield the translated document bit by bit."""
        found = answered(written)
        for piece in self.pieces():
            translations = list(islice(found, len(piece.lines)))
            second = list(islice(found, len(piece.second_lines(translations))))
            yield piece.content(translations, second)


def _order_of_lines(format: DocumentFormat) -> dict[str, Any]:
    """Return what the order of lines depends on: what a piece needs besides its own stands behind each."""
    return {"piece": PieceSize()._asdict()} if format.in_pieces else {}


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with check_readable(path).open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _do_job(
    job: _Job,
    answers: Answers,
    translate_chunks: TranslateChunks,
    told: Callable[[int], None],
    listener: TranslationListener,
    *,
    resume: bool,
    begun: set[str],
) -> None:
    path = job.output.output
    num_lines = job.counts.num_lines
    with job.output.opened(resume=resume, is_begun=path.name in begun) as output:
        answers.faults = answers.faults.plus(job.output.faults)
        if output is None:
            listener.complete_already(path)
            answers.num_done += num_lines
            return
        if resume:
            listener.resumed(path, output.num_lines_done, num_lines)
        answers.num_done += output.num_lines_done
        told(answers.num_done)
        found: list[LineTranslation] = []
        try:
            chunks = _chunks(job, answered(output.lines_before()), found, answers.chunk_size)
            for text, num_answered, faults in answers.translated(chunks, translate_chunks):
                output.write(text, num_answered, faults)
                found += _answered_in(text)
                told(answers.num_done)
        except BaseException:
            if output.num_lines_done:
                listener.stopped(path, output.num_lines_done, num_lines)
            raise
        output.finish()


def _answered_in(text: str) -> Iterator[LineTranslation]:
    return answered(text.encode("utf-8").splitlines())


def _chunks(
    job: _Job, before: Iterator[LineTranslation], found: list[LineTranslation], size: ChunkSize
) -> Iterator[list[RawLine]]:
    """Yield the lines that have no translation yet, piece by piece; what is needed because of the translations of a
    piece comes behind it.

    Args:
        before: translations that are there already.
        found: gets them, and whoever takes the lines adds the translations of these; emptied at each piece.
    """
    number = 0
    for piece in job.pieces():
        lines = piece.lines
        found[:] = islice(before, len(lines))
        yield from _divided(lines[len(found) :], number + len(found), size)
        yield []  # until all of them are translated
        number += len(lines)
        second = piece.second_lines(found)
        done = list(islice(before, len(second)))
        yield from _divided(second[len(done) :], number + len(done), size)
        yield []
        number += len(second)


def _divided(lines: Sequence[str], first: int, size: ChunkSize) -> Iterator[list[RawLine]]:
    place = 0
    while place < len(lines):
        num_lines = size.num_lines
        chunk = lines[place : place + num_lines]
        yield [RawLine(line.encode("utf-8", "replace"), first + place + n, False) for n, line in enumerate(chunk)]
        place += len(chunk)
