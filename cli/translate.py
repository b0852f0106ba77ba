"""``mtmoe translate``."""

from __future__ import annotations

import contextlib
import glob
import os
import stat
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from mtmoe.errors import UserError

from .console import note, shown_progress, warn
from .formats import Columns, Format, JsonFormat, Question, TextFormat, TsvFormat
from .jobs import InputFile, Job, examine
from .lines import decoded, line_chunks, opened_input, opened_output
from .options import DIRECTORY, FILE, checkpoint_option, decoding_set_option, run_argument, with_option

if TYPE_CHECKING:
    from mtmoe.inference.other_models import OtherRuns
    from mtmoe.inference.requests import Member, Request
    from mtmoe.inference.terminology import Terminology
    from mtmoe.inference.translator import Translation

# Lines that are sorted by length together: enough to fill batches, few enough to see progress.
_CHUNK_LINES = 1024
# With several processes: a file of a few thousand lines should keep all of them busy.
_CHUNK_LINES_OF_WORKERS = 256

Translate = Callable[[Iterable[Sequence["Request"]]], Iterator[list["Translation"]]]
"""From chunks of lines to chunks of translations, in order."""


class _Options(NamedTuple):
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

    @property
    def chunk_lines(self) -> int:
        return _CHUNK_LINES_OF_WORKERS if self.num_workers > 1 else _CHUNK_LINES


@click.command()
@run_argument
@click.argument("files", metavar="[FILE]...", nargs=-1)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["text", "json", "tsv"]),
    default="text",
    show_default=True,
    help="Format of the lines, in and out.",
)
@click.option(
    "--column", type=click.IntRange(min=1), help="Column of the source, from 1, in --format tsv.  [default: 1]"
)
@click.option(
    "--prefix-column",
    type=click.IntRange(min=1),
    help="Column of how the translation must begin, from 1, in --format tsv.",
)
@click.option("--nbest", "num_best", type=click.IntRange(min=1), help="Write the N best translations of each line.")
@click.option("--scores", "with_scores", is_flag=True, help="Write score and log-probability before a translation.")
@click.option("--alignment", "with_alignment", is_flag=True, help="Write which word comes from which (0-0 2-1).")
@click.option("--beam", "beam_size", type=click.IntRange(min=1), help="Beam size.  [default: the recipe's]")
@click.option(
    "--terms",
    "terms_path",
    type=FILE,
    help="TSV file of terms: where a line has the first column, its translation has the second.",
)
@click.option("--lm", "language_model", metavar="RUN", type=DIRECTORY, help="A language model that searches along.")
@click.option(
    "--lm-weight",
    type=click.FloatRange(min=0, min_open=True),
    help="Its weight.  [default: decoding.language_model.weight]",
)
@click.option("--rerank-lm", metavar="RUN", type=DIRECTORY, help="A language model that chooses among candidates.")
@click.option("--rerank-channel", metavar="RUN", type=DIRECTORY, help="A model of the other direction that does too.")
@click.option("--input", "input_paths", metavar="FILE", multiple=True, help="Another FILE. Can be repeated.")
@click.option("--output", "output_path", type=FILE, help="Write this file instead of standard output.")
@click.option("--output-dir", type=DIRECTORY, help="Write a file of the same name in this directory for each FILE.")
@click.option("--resume", is_flag=True, help="Go on with an output that an interrupted command left unfinished.")
@click.option(
    "--workers",
    "num_workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that translate; the result does not depend on it.",
)
@with_option
@checkpoint_option
@decoding_set_option
@click.option(
    "--device",
    metavar="DEVICE",
    help="cpu, cuda or cuda:N; for workers several, such as cuda:0,cuda:1.  "
    "[default: cuda where there is one, else cpu]",
)
def translate(
    run: Path,
    files: tuple[str, ...],
    format_name: str,
    column: int | None,
    prefix_column: int | None,
    num_best: int | None,
    with_scores: bool,
    with_alignment: bool,
    beam_size: int | None,
    terms_path: Path | None,
    language_model: Path | None,
    lm_weight: float | None,
    rerank_lm: Path | None,
    rerank_channel: Path | None,
    input_paths: tuple[str, ...],
    output_path: Path | None,
    output_dir: Path | None,
    resume: bool,
    num_workers: int,
    ensemble: tuple[Member, ...],
    checkpoint: str,
    overrides: tuple[str, ...],
    device: str | None,
) -> None:
    """Translate standard input, or files: one line out per line in.

    FILE can be compressed, and a pattern such as 'news/*.en'. The order is kept, an empty line stays empty.

    \b
    text    a line has columns with tabs between: the number of the input line (with --nbest), score and
            log-probability (with --scores or --nbest), translation, alignment (with --alignment)
    tsv     the columns of the input line, and then the same without the number
    json    an object with "text" and, if you like, "prefix" (how the translation must begin) and "phrases" (a
            list of what it must have); the answer has all fields of the object, translation, score,
            log_probability, tokens, token_log_probabilities, warnings, alignment (with --alignment), terms (with
            --terms: source, target, applied) and alternatives (with --nbest)

    A term of --terms is found as whole words (in languages without spaces anywhere), in any case if it is written
    without capitals, else only as it is written; the longest counts. Its translation stands as it is written, in every
    line that has the term, though letters may follow it.

    Score and log-probability are natural logarithms, the latter what `mtmoe score` gives for a translation. With
    --lm, --rerank-lm or --rerank-channel, the weighted logarithms of these models are added to it before the score
    divides by the length; json has them as score_parts. The candidates of reranking are those of the beam
    (decoding.reranking has their number and the weights).

    Bytes that are not UTF-8 are replaced, with a warning. A line that is no JSON object or has too few columns has
    an empty translation, and at the end the exit status is 1.
    """
    inputs = [path for pattern in (*input_paths, *files) for path in _matching(pattern)]
    devices = tuple(device.split(",")) if device else (None,)
    if with_scores and format_name == "json":
        raise click.UsageError("--scores has no meaning with --format json: scores are always in it")
    if prefix_column is not None and format_name != "tsv":
        raise click.UsageError(f"--prefix-column belongs to --format tsv, not to --format {format_name}")
    _check_usage(inputs, format_name, column, output_path, output_dir, resume, len(devices), num_workers)
    if beam_size is not None:
        overrides = (*overrides, f"decoding.beam_size={beam_size}")
    if lm_weight is not None:
        if language_model is None:
            raise click.UsageError("--lm-weight is the weight of a language model: give --lm")
        overrides = (*overrides, f"decoding.language_model.weight={lm_weight}")
    columns = Columns(with_scores or num_best is not None, with_alignment, numbered=num_best is not None)
    formats: dict[str, Format] = {
        "text": TextFormat(columns),
        "tsv": TsvFormat(column or 1, columns._replace(numbered=False), prefix_column=prefix_column),
        "json": JsonFormat(
            with_alignment=with_alignment, with_alternatives=num_best is not None, with_terms=terms_path is not None
        ),
    }
    from mtmoe.inference.other_models import OtherRuns

    others = OtherRuns(*(str(path) if path else "" for path in (language_model, rerank_lm, rerank_channel)))
    options = _Options(
        run, checkpoint, overrides, devices, num_workers, num_best or 1, with_alignment, formats[format_name], others,
        ensemble, _read_terms(terms_path),
    )  # fmt: skip
    if inputs and (output_dir or (output_path and (not output_path.exists() or output_path.is_file()))):
        column = column or 1 if format_name == "tsv" else None
        shape = {"format": format_name, "column": column, "nbest": num_best, "scores": columns.with_scores}
        shape |= {"prefix_column": prefix_column} if prefix_column else {}
        _translate_files(options, inputs, output_path, output_dir, resume, {**shape, "alignment": with_alignment})
    else:
        _translate_stream(options, inputs, output_path)


def _read_terms(path: Path | None) -> Terminology | None:
    from mtmoe.inference.terminology import read_terms

    return None if path is None else read_terms(path)


def _matching(pattern: str) -> list[Path]:
    """The file of that name, or the files that match the pattern, in alphabetical order."""
    if os.path.exists(pattern) or not glob.has_magic(pattern):
        return [Path(pattern)]
    found = sorted(path for path in map(Path, glob.glob(pattern, recursive=True)) if path.is_file())
    if not found:
        raise UserError(f"{pattern}: no file matches", fix="check the pattern; * does not match a leading dot")
    return found


def _check_usage(
    inputs: Sequence[Path],
    format_name: str,
    column: int | None,
    output_path: Path | None,
    output_dir: Path | None,
    resume: bool,
    num_devices: int,
    num_workers: int,
) -> None:
    output_names = [_plain_name(path) for path in inputs] if output_dir else []
    twice = next((name for name in output_names if output_names.count(name) > 1), "")
    outputs = [output_dir / name for name in output_names] if output_dir else [output_path] if output_path else []
    overwritten = next((path for path in inputs for output in outputs if _is_same_file(path, output)), None)
    complaints = {
        f"--column belongs to --format tsv, not to --format {format_name}": column is not None and format_name != "tsv",
        "give either --output or --output-dir": output_path is not None and output_dir is not None,
        "--output-dir needs a FILE to translate": output_dir is not None and not inputs,
        "--resume needs a FILE to translate, and --output or --output-dir": resume
        and not (inputs and (output_path or output_dir)),
        f"--resume needs an output that is a file, and {output_path} is none": resume
        and output_path is not None
        and output_path.exists()
        and not output_path.is_file(),
        f"two files would both be written to {twice} in --output-dir": bool(twice),
        f"{overwritten} would be overwritten by its translation": overwritten is not None,
        f"--device names {num_devices} devices, but --workers is {num_workers}": num_devices > num_workers,
    }
    for complaint, holds in complaints.items():
        if holds:
            raise click.UsageError(complaint)


def _is_same_file(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.samefile(other)


def _plain_name(path: Path) -> str:
    """Name of a file without the suffix of its compression: translations are not compressed."""
    return path.stem if path.suffix in (".gz", ".xz", ".bz2", ".zst") else path.name


# ------------------------------------------------------------------------------------------------- streams


def _translate_stream(options: _Options, inputs: Sequence[Path], output_path: Path | None) -> None:
    """Standard input or files to standard output, or standard input to a file: at once, and never resumed."""
    total = sum(examine(path).num_lines for path in inputs) if inputs else _lines_of_standard_input()
    with (
        _translating(options) as translate_chunks,
        opened_output(output_path) as write,
        shown_progress(beside_output=output_path is None) as progress,
    ):
        lines = _Lines(options)
        progress("translate", 0, total, "lines")
        for answers, _ in lines.translated(_chunks(inputs, options), translate_chunks):
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


def _translate_files(
    options: _Options,
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
        output_dir.mkdir(parents=True, exist_ok=True)
        pairs = zip(inputs, examined, strict=True)
        groups = [(output_dir / _plain_name(path), [(path, file)]) for path, file in pairs]
    jobs = [(Job(output, identity, [file for _, file in group]), group) for output, group in groups]
    if not resume:
        for job, _ in jobs:
            job.begin()
    lines = _Lines(options)
    total = sum(file.num_lines for file in examined)
    with _translating(options) as translate_chunks, shown_progress() as progress:
        for job, group in jobs:
            _do_job(
                job, group, lines, options, translate_chunks, resume, lambda n: progress("translate", n, total, "lines")
            )
        progress("translate", total, total, "lines")
    for job, _ in jobs:
        job.forget()
    lines.complain()


def _do_job(
    job: Job,
    group: Sequence[tuple[Path, InputFile]],
    lines: _Lines,
    options: _Options,
    translate_chunks: Translate,
    resume: bool,
    progress: Callable[[int], None],
) -> None:
    num_lines = sum(file.num_lines for _, file in group)
    with job.opened(resume=resume) as output:
        if output is None:
            note(f"{job.output}: complete already")
            lines.num_done += num_lines
            return
        if resume:
            note(f"{job.output}: going on after line {output.num_lines_done:,} of {num_lines:,}")
        lines.num_done += output.num_lines_done
        progress(lines.num_done)
        try:
            chunks = _chunks([path for path, _ in group], options, num_skipped=output.num_lines_done)
            for answers, num_answered in lines.translated(chunks, translate_chunks):
                output.write(answers, num_answered)
                progress(lines.num_done)
        except BaseException:
            if output.num_lines_done:
                note(
                    f"{job.output}: stopped after line {output.num_lines_done:,} of {num_lines:,}, which is saved; "
                    "to go on, add --resume to the same command"
                )
            raise
        output.finish()


def _model_identity(options: _Options) -> dict[str, Any]:
    """Everything that translations depend on, besides their sources."""
    from mtmoe.inference.translator import decoding_settings

    decoding = decoding_settings(options.run, options.overrides).model_dump(mode="json")
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

    def __init__(self, options: _Options) -> None:
        self._options = options
        self.num_done = 0
        self._num_unreadable = 0
        self._first_problem = ""

    def translated(self, chunks: Iterable[Sequence[_Line]], translate_chunks: Translate) -> Iterator[tuple[str, int]]:
        """The answers to each chunk as one text, and how many lines they answer, in order."""
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
            if questions:
                yield "".join(answers), len(questions)

    def _question(self, line: _Line) -> Question:
        number = line.number
        text = decoded(line.content, number + 1, warn, is_first=line.is_first)
        question = self._options.format.read(text, number)
        if question.problem:
            self._num_unreadable += 1
            self._first_problem = self._first_problem or f"line {number + 1}: {question.problem}"
        return question

    def complain(self) -> None:
        """Tell of the lines that could not be read.

        Raises:
            UserError: there were some.
        """
        if self._num_unreadable:
            raise UserError(
                f"{self._num_unreadable:,} of {self.num_done:,} lines could not be read (first: {self._first_problem})",
                fix="their translations are empty, all others are written",
            )


class _Line(NamedTuple):
    content: bytes
    number: int
    """From 0, over all files that are translated into one output."""
    is_first: bool
    """Of its file."""


def _chunks(inputs: Sequence[Path], options: _Options, *, num_skipped: int = 0) -> Iterator[list[_Line]]:
    """The lines of standard input, or of files one after the other, but for the first so many."""
    number = 0
    paths: Sequence[Path | None] = inputs or [None]
    for path in paths:
        is_first = True
        with opened_input(path) as stream:
            for chunk in line_chunks(stream, options.chunk_lines, tell_pauses=options.num_workers > 1):
                lines = []
                for content in chunk:
                    if number >= num_skipped:
                        lines.append(_Line(content, number, is_first))
                    number += 1
                    is_first = False
                if lines or not chunk:
                    yield lines


@contextlib.contextmanager
def _translating(options: _Options) -> Iterator[Translate]:
    """Load the model here, or in the workers."""
    arguments: dict[str, Any] = {
        "checkpoint": options.checkpoint, "overrides": options.overrides, "others": options.others,
        "ensemble": options.ensemble, "terms": options.terms,
    }  # fmt: skip
    if options.num_workers > 1:
        from mtmoe.inference.worker_pool import WorkerPool

        with WorkerPool(options.run, options.num_workers, devices=options.devices, warn=warn, **arguments) as pool:
            yield lambda chunks: pool.translate_chunks(chunks, options.num_best, with_alignment=options.with_alignment)
        return
    from mtmoe.inference.translator import Translator

    translator = Translator(options.run, device=options.devices[0], **arguments)

    def translated(chunks: Iterable[Sequence[Request]]) -> Iterator[list[Translation]]:
        for chunk in chunks:
            yield translator.translate(chunk, options.num_best, with_alignment=options.with_alignment)

    yield translated
