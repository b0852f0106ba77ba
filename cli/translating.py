"""What ``mtmoe translate`` does once it is understood: lines in, translations out, in a stream or from file to file."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mtmoe.errors import UserError
from mtmoe.system.atomic_files import make_directory

from .console import note, shown_progress, warn
from .formats import Format, Question
from .jobs import InputFile, Job, Unreadable, examine
from .lines import decoded, line_chunks, opened_input, opened_output

if TYPE_CHECKING:
    from mtmoe.inference.constraints.terminology import Terminology
    from mtmoe.inference.requests import Member, Request
    from mtmoe.inference.scoring.rescoring import OtherRuns
    from mtmoe.inference.translator import Translation

# Lines that are sorted by length and translated together: few at first, so that there is something to see; then, as
# each chunk ends in batches that are not full, as many as take some seconds. A crash loses a chunk, and no more.
_CHUNK_LINES = 1024
_MOST_CHUNK_LINES = 4096
_CHUNK_SECONDS = 8.0

Translate = Callable[[Iterable[Sequence["Request"]]], Iterator[list["Translation"]]]
"""From chunks of lines to chunks of translations, in order."""


class Options(NamedTuple):
    """Which run translates, and how."""

    run: Path
    checkpoint: str
    overrides: tuple[str, ...]
    devices: tuple[str | None, ...]
    num_workers: int
    num_best: int
    with_alignment: bool
    format: Format
    others: OtherRuns
    ensemble: tuple[Member, ...] = ()
    """Runs that translate together with ``run``."""
    terms: Terminology | None = None


class _ChunkSize:
    """How many lines a chunk has."""

    def __init__(self, num_workers: int) -> None:
        self._num_workers, self._fewest = num_workers, _CHUNK_LINES
        if num_workers > 1:
            from mtmoe.inference.worker_pool import CHUNK_LINES

            self._fewest = CHUNK_LINES
        self.num_lines = self._fewest
        self._began: float | None = None
        self._num_answered = 0

    def answered(self, num_lines: int) -> None:
        """So many lines more are done. Until the first are, the model was being loaded."""
        if self._began is None:
            self._began = time.monotonic()
            return
        self._num_answered += num_lines
        a_second = self._num_answered / max(time.monotonic() - self._began, 1e-3)
        wanted = int(a_second * _CHUNK_SECONDS / self._num_workers)
        self.num_lines = max(self._fewest, min(wanted, _MOST_CHUNK_LINES))


def plain_name(path: Path) -> str:
    """Name of a file without the suffix of its compression: translations are not compressed."""
    return path.stem if path.suffix in (".gz", ".xz", ".bz2", ".zst") else path.name


# ------------------------------------------------------------------------------------------------- streams


def translate_stream(options: Options, inputs: Sequence[Path], output_path: Path | None) -> None:
    """Standard input or files to standard output, or standard input to a file: at once, and never resumed."""
    from mtmoe.data.raw.lines import is_open_pipe

    if any(map(is_open_pipe, inputs)):
        total = None  # they can be read once
    else:
        total = sum(examine(path).num_lines for path in inputs) if inputs else _lines_of_standard_input()
    with (
        _translating(options) as translate_chunks,
        opened_output(output_path) as write,
        shown_progress(beside_output=output_path is None) as progress,
    ):
        lines = _Lines(options)
        progress("translate", 0, total, "lines")
        for answers, _, _ in lines.translated(_chunks(inputs, options, lines.chunk_size), translate_chunks):
            write(answers)
            progress("translate", lines.num_done, total, "lines")
        progress("translate", lines.num_done, lines.num_done, "lines")
    lines.complain()


def _lines_of_standard_input() -> int | None:
    """How many lines it has, if it is a file (``< text.en``); else nobody knows."""
    try:
        descriptor = sys.stdin.buffer.fileno()
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        position = os.lseek(descriptor, 0, os.SEEK_CUR)
    except (OSError, ValueError):  # not a file of the system's (a test's)
        return None
    num_lines, last = 0, b"\n"
    while block := os.pread(descriptor, 1 << 20, position):
        num_lines += block.count(b"\n")
        last = block[-1:]
        position += len(block)
    return num_lines + (last != b"\n")


# --------------------------------------------------------------------------------------------------- files


def translate_files(
    options: Options,
    inputs: Sequence[Path],
    output_path: Path | None,
    output_dir: Path | None,
    resume: bool,
    shape: dict[str, Any],
) -> None:
    """Files to files, each of which can be resumed."""
    identity = {**_model_identity(options), "output": shape}
    examined = [examine(path) for path in inputs]
    if output_path is not None:
        groups = [(output_path, list(zip(inputs, examined, strict=True)))]
    else:
        assert output_dir is not None
        make_directory(output_dir)
        pairs = zip(inputs, examined, strict=True)
        groups = [(output_dir / plain_name(path), [(path, file)]) for path, file in pairs]
    names = [output.name for output, _ in groups] if output_dir is not None else []
    jobs = [(Job(output, identity, [file for _, file in group], outputs=names), group) for output, group in groups]
    begun = {name for job, _ in jobs for name in job.outputs_begun()} if resume else set(names)
    lines = _Lines(options)
    total = sum(file.num_lines for file in examined)
    with _translating(options) as translate_chunks, shown_progress() as progress:
        if not resume:  # not before the models and settings are known to be good: what is unfinished is lost with it
            for job, _ in jobs:
                job.begin()
        for job, group in jobs:
            _do_job(
                job, group, lines, options, translate_chunks, resume, job.output.name in begun,
                lambda n: progress("translate", n, total, "lines"),
            )  # fmt: skip
        progress("translate", total, total, "lines")
    for job, _ in jobs:
        job.forget()
    lines.complain()


def _do_job(
    job: Job,
    group: Sequence[tuple[Path, InputFile]],
    lines: _Lines,
    options: Options,
    translate_chunks: Translate,
    resume: bool,
    is_begun: bool,
    progress: Callable[[int], None],
) -> None:
    num_lines = sum(file.num_lines for _, file in group)
    with job.opened(resume=resume, is_begun=is_begun) as output:
        lines.unreadable = lines.unreadable.and_then(job.unreadable)
        if output is None:
            note(f"{job.output}: complete already")
            lines.num_done += num_lines
            return
        if resume:
            note(f"{job.output}: going on after line {output.num_lines_done:,} of {num_lines:,}")
        lines.num_done += output.num_lines_done
        progress(lines.num_done)
        try:
            paths = [path for path, _ in group]
            chunks = _chunks(paths, options, lines.chunk_size, num_skipped=output.num_lines_done)
            for answers, num_answered, unreadable in lines.translated(chunks, translate_chunks):
                output.write(answers, num_answered, unreadable)
                progress(lines.num_done)
        except BaseException:
            if output.num_lines_done:
                note(
                    f"{job.output}: stopped after line {output.num_lines_done:,} of {num_lines:,}, which is saved; "
                    "to go on, add --resume to the same command"
                )
            raise
        output.finish()


def _model_identity(options: Options) -> dict[str, Any]:
    """Everything that translations depend on, besides their sources.

    Raises:
        UserError: the settings do not suit the number of translations that is asked for.
    """
    from mtmoe.inference.search.search_options import SearchOptions
    from mtmoe.inference.translator import decoding_settings

    settings = decoding_settings(options.run, options.overrides)
    SearchOptions.from_settings(settings, num_best=options.num_best)  # an error now, before any output is touched
    decoding = settings.model_dump(mode="json")
    del decoding["batch_tokens"]  # the only one that no translation depends on
    identity = {**_weights_identity(options.run, options.checkpoint), "decoding": decoding}
    if options.terms:
        identity["terms"] = options.terms.digest
    for name, run in options.others._asdict().items():
        if run:
            identity[name] = _weights_identity(Path(run), "best")
    for number, other in enumerate(options.ensemble, start=1):
        identity[f"with {number}"] = {**_weights_identity(other.run, options.checkpoint), "weight": other.weight}
    return identity


def _weights_identity(run: Path, name: str) -> dict[str, Any]:
    from mtmoe.checkpoint import find_checkpoints, open_run, stored_digest

    found = find_checkpoints(open_run(run), name)
    return {
        "checkpoint": " ".join(checkpoint.name for checkpoint in found),
        "weights": " ".join(map(stored_digest, found)),
    }


# --------------------------------------------------------------------------------------------------- lines


class _Lines:
    """Reads lines as the format says, and puts the answers together."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.num_done = 0
        self.chunk_size = _ChunkSize(options.num_workers)
        self.unreadable = Unreadable()

    def translated(
        self, chunks: Iterable[Sequence[_Line]], translate_chunks: Translate
    ) -> Iterator[tuple[str, int, Unreadable]]:
        """The answers to each chunk as one text, how many lines they answer, and which of them could not be read."""
        asked: deque[list[Question]] = deque()

        def requests() -> Iterator[list[Request]]:
            for chunk in chunks:
                asked.append([self._question(line) for line in chunk])
                yield [question.request for question in asked[-1]]

        for translations in translate_chunks(requests()):
            questions = asked.popleft()
            answers = []
            for question, translation in zip(questions, translations, strict=True):
                for warning in translation.warnings:
                    warn(f"line {question.request.number + 1}: {warning}")
                answers.append(self._options.format.write(question, translation))
            self.num_done += len(questions)
            self.chunk_size.answered(len(questions))
            problems = [f"line {q.request.number + 1}: {q.problem}" for q in questions if q.problem]
            unreadable = Unreadable(len(problems), problems[0] if problems else "")
            self.unreadable = self.unreadable.and_then(unreadable)
            if questions:
                yield "".join(answers), len(questions), unreadable

    def _question(self, line: _Line) -> Question:
        from mtmoe.data.raw.lines import LONGEST_LINE_BYTES, is_too_long

        number = line.number
        if is_too_long(line.content.removesuffix(b"\r")):
            problem = f"longer than {LONGEST_LINE_BYTES:,} bytes"
            return self._options.format.read("", number)._replace(problem=problem)
        text = decoded(line.content, number + 1, warn, is_first=line.is_first)
        return self._options.format.read(text, number)

    def complain(self) -> None:
        """Tell of the lines that could not be read.

        Raises:
            UserError: there were some.
        """
        if self.unreadable.number:
            number, first_problem = self.unreadable
            raise UserError(
                f"{number:,} of {self.num_done:,} lines could not be read (first: {first_problem})",
                fix="their translations are empty, all others are written",
            )


class _Line(NamedTuple):
    content: bytes
    number: int
    """From 0, over all files that are translated into one output."""
    is_first: bool
    """Of its file."""


def _chunks(
    inputs: Sequence[Path], options: Options, size: _ChunkSize, *, num_skipped: int = 0
) -> Iterator[list[_Line]]:
    """The lines of standard input, or of files one after the other, but for the first so many."""
    from mtmoe.data.raw.lines import check_is_text

    number = 0
    paths: Sequence[Path | None] = inputs or [None]
    for path in paths:
        is_first = True
        with opened_input(path) as stream:
            for chunk in line_chunks(stream, lambda: size.num_lines, tell_pauses=options.num_workers > 1):
                lines = []
                for content in chunk:
                    if is_first:
                        check_is_text(content, path)
                    if number >= num_skipped:
                        lines.append(_Line(content, number, is_first))
                    number += 1
                    is_first = False
                if lines or not chunk:
                    yield lines


@contextlib.contextmanager
def _translating(options: Options) -> Iterator[Translate]:
    """Load the model here, or in the workers."""
    arguments: dict[str, Any] = {
        "checkpoint": options.checkpoint, "overrides": options.overrides, "others": options.others,
        "ensemble": options.ensemble, "terms": options.terms,
    }  # fmt: skip
    wanted: dict[str, Any] = {"with_alignment": options.with_alignment, "with_scores": options.format.with_scores}
    if options.num_workers > 1:
        from mtmoe.inference.worker_pool import WorkerPool

        with WorkerPool(options.run, options.num_workers, devices=options.devices, warn=warn, **arguments) as pool:
            yield lambda chunks: pool.translate_chunks(chunks, options.num_best, **wanted)
        return
    from mtmoe.inference.translator import Translator

    translator = Translator(options.run, device=options.devices[0], **arguments)

    def translated(chunks: Iterable[Sequence[Request]]) -> Iterator[list[Translation]]:
        for chunk in chunks:
            yield translator.translate(chunk, options.num_best, **wanted)

    yield translated
