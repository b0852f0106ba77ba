"""Translation of documents to documents, each of which can be gone on with after an interruption.

What is kept meanwhile beside the output are the translations of its lines, as for any file
(`mtmoe/inference/files/resumable_output.py`); the document is made of them in the end.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mtmoe.documents.document import Document, DocumentOptions
from mtmoe.documents.document_jobs import NO_LISTENER, DocumentCounts, DocumentListener, SourceDocument
from mtmoe.documents.registry import DocumentFormat
from mtmoe.documents.tokens import LineTranslation
from mtmoe.documents.translation_memory import TranslationMemory
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
from mtmoe.progress import Progress, silent
from mtmoe.system.atomic_files import make_directory
from mtmoe.system.readable_files import read_bytes

MOST_DOCUMENT_BYTES = 1 << 29


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
        skipped = bool(self._token)
        links = [(source - skipped, word) for source, word in translation.alignment if source >= skipped]
        return json.dumps({"text": translation.text, "alignment": links}) + "\n"


def answered(lines: bytes) -> list[LineTranslation]:
    """Return the translations that :class:`SegmentFormat` has written."""
    entries = map(json.loads, lines.decode("utf-8").splitlines())
    return [LineTranslation(entry["text"], tuple((i, j) for i, j in entry["alignment"])) for entry in entries]


def translate_documents(
    options: TranslationOptions,
    sources: Sequence[SourceDocument],
    output: Path | None = None,
    *,
    output_dir: Path | None = None,
    document_options: DocumentOptions,
    token: str = "",
    memory: TranslationMemory | None = None,
    resume: bool = False,
    progress: Progress = silent,
    listener: DocumentListener = NO_LISTENER,
) -> TranslatedLines:
    """Translate documents to documents.

    Args:
        options: which run translates, and how; its format is of no interest.
        output: of the only source.
        output_dir: instead of ``output``: the directory of a file of the same name for each source.
        token: as for :class:`SegmentFormat`.
        memory: translations that are taken where a text is the very same.
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
    options = options._replace(format=SegmentFormat(token))
    identity = {
        **model_identity(options),
        "output": options.format.identity(),
        "document": {
            **{**document_options._asdict(), "parts": list(document_options.parts)},
            "memory": memory.digest if memory else "",
            "token": token,
        },
    }
    if output_dir is not None:
        make_directory(output_dir)
    names = [path.name for path in paths] if output_dir else []
    jobs = [
        _job(source, output or (output_dir or Path()) / source.path.name, document_options, memory, identity, names)
        for source in sources
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


def translate_document(
    content: bytes,
    name: str,
    format: DocumentFormat,
    translate: Callable[[Sequence[str]], Sequence[Any]],
    options: DocumentOptions,
    memory: TranslationMemory | None = None,
) -> bytes:
    """Return a document with its text translated, all of it in memory.

    Args:
        name: of the file, for errors.
        translate: returns the translations of lines, with text and alignment.

    Raises:
        UserError: it is damaged, or of another format.
    """
    document = format.read(content, name, options)
    if memory is not None:
        document.take_known(memory.known)
    translations = translate(document.lines)
    return document.content(translations, translate(document.second_lines(translations)))


@contextlib.contextmanager
def lines_translator(
    options: TranslationOptions, token: str = "", listener: TranslationListener = NOBODY
) -> Iterator[Callable[[Sequence[str]], list[LineTranslation]]]:
    """Load the model, and yield what translates lines, all of them in memory.

    Args:
        token: as for :class:`SegmentFormat`.

    Raises:
        UserError: as :class:`mtmoe.Translator`.
    """
    options = options._replace(format=SegmentFormat(token))
    answers = Answers(options, listener)
    with chunk_translator(options, listener) as translate_chunks:

        def translate(lines: Sequence[str]) -> list[LineTranslation]:
            chunks = _divided(lines, 0, answers.chunk_size)
            found = answers.translated(chunks, translate_chunks)
            return [each for text, _, _ in found for each in answered(text.encode("utf-8"))]

        yield translate


class _Job(NamedTuple):
    source: SourceDocument
    document: Document
    lines: list[str]
    counts: DocumentCounts
    output: ResumableOutput


def _job(
    source: SourceDocument,
    output: Path,
    options: DocumentOptions,
    memory: TranslationMemory | None,
    identity: dict[str, Any],
    names: Sequence[str],
) -> _Job:
    content = read_document(source.path)
    document = source.format.read(content, str(source.path), options)
    num_known = document.take_known(memory.known) if memory is not None else 0
    lines = document.lines
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()

    def composed(written: bytes) -> bytes:
        found = answered(written)
        return document.content(found[: len(lines)], found[len(lines) :])

    resumable = ResumableOutput(
        output,
        {**identity, "document_format": source.format.name},
        [InputFile(str(source.path), len(lines), digest)],
        outputs=names,
        composed=composed,
    )
    return _Job(source, document, lines, DocumentCounts(len(lines), num_known, document.num_kept), resumable)


def read_document(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        UserError: it cannot be read, or is too large to be a document.
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
    with job.output.opened(resume=resume, is_begun=path.name in begun) as output:
        answers.faults = answers.faults.plus(job.output.faults)
        if output is None:
            listener.complete_already(path)
            answers.num_done += len(job.lines)
            return
        found = answered(output.written())
        if resume:
            listener.resumed(path, output.num_lines_done, len(job.lines))
        answers.num_done += output.num_lines_done
        told(answers.num_done)
        try:
            chunks = _chunks(job, found, answers.chunk_size)
            for text, num_answered, faults in answers.translated(chunks, translate_chunks):
                output.write(text, num_answered, faults)
                found += answered(text.encode("utf-8"))
                told(answers.num_done)
        except BaseException:
            if output.num_lines_done:
                listener.stopped(path, output.num_lines_done, len(job.lines))
            raise
        output.finish()


def _chunks(job: _Job, found: Sequence[LineTranslation], size: ChunkSize) -> Iterator[list[RawLine]]:
    """Yield the lines that have no translation yet; what is needed because of their translations comes last."""
    num_first = len(job.lines)
    yield from _divided(job.lines[len(found) :], len(found), size)
    yield []  # until all of them are translated
    second = job.document.second_lines(found[:num_first])
    yield from _divided(second[max(0, len(found) - num_first) :], max(num_first, len(found)), size)


def _divided(lines: Sequence[str], first: int, size: ChunkSize) -> Iterator[list[RawLine]]:
    place = 0
    while place < len(lines):
        num_lines = size.num_lines
        chunk = lines[place : place + num_lines]
        yield [RawLine(line.encode("utf-8", "replace"), first + place + n, False) for n, line in enumerate(chunk)]
        place += len(chunk)
