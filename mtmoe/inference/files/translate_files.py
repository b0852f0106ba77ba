"""Translation of files to files, each of which can be gone on with after an interruption."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtmoe.errors import UserError
from mtmoe.inference.files.answers import Answers, chunk_translator
from mtmoe.inference.files.model_identity import model_identity
from mtmoe.inference.files.output_jobs import OutputJob, do_job
from mtmoe.inference.files.resumable_output import InputFile, ResumableOutput, examine_input
from mtmoe.inference.files.translation_options import NOBODY, TranslatedLines, TranslationListener, TranslationOptions
from mtmoe.progress import Progress, silent
from mtmoe.system.atomic_files import make_directory


def translate_files(
    options: TranslationOptions,
    inputs: Sequence[Path],
    output: Path | None = None,
    *,
    output_dir: Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
    listener: TranslationListener = NOBODY,
) -> TranslatedLines:
    """Translate files to files, each of which can be gone on with after an interruption.

    >>> translate_files(TranslationOptions("runs/demo"), [Path("text.en")], Path("text.fr"))        # doctest: +SKIP

    Args:
        output: one file for all inputs, one after the other.
        output_dir: instead of ``output``: the directory of one file for each input, of the same name.
        resume: go on where an earlier call with the same arguments stopped. What is complete is left as it is.

    Returns:
        The number of lines of all inputs, and those that could not be read; call ``raise_unreadable()`` to have the
        latter as an error.

    Raises:
        UserError: an input cannot be read or only once; an output cannot be gone on with, because it was begun from
            other texts or with other settings; as :class:`mtmoe.Translator`.
        OSError: an output cannot be written.
        ValueError: there is not exactly one of ``output`` and ``output_dir``.
    """
    if (output is None) == (output_dir is None):
        raise ValueError("give either output or output_dir")
    check_read_again(inputs)
    if complaint := output_conflict(inputs, output, output_dir):
        raise UserError(complaint, fix="write to another file or directory")
    identity = {**model_identity(options), "output": options.format.identity()}
    jobs = _planned_jobs(inputs, output, output_dir, identity)
    begun = {name for job in jobs for name in job.output.begun_outputs()} if resume else set()
    answers = Answers(options, listener)
    total = sum(job.num_lines for job in jobs)
    with chunk_translator(options, listener) as translate_chunks:
        if not resume:  # not before the models and settings are known to be good: what is unfinished is lost with it
            for job in jobs:
                job.output.begin()

        def told(num_done: int) -> None:
            progress("translate", num_done, total, "lines")

        for job in jobs:
            is_begun = job.output.output.name in begun
            do_job(job, answers, translate_chunks, told, listener, resume=resume, is_begun=is_begun)
        told(total)
    for job in jobs:
        job.output.remove_journal()
    return answers.result()


def plain_name(path: Path) -> str:
    """Return the name of a file without the suffix of its compression: translations are not compressed."""
    return path.stem if path.suffix in (".gz", ".xz", ".bz2", ".zst") else path.name


def output_conflict(inputs: Sequence[Path], output: Path | None, output_dir: Path | None) -> str:
    """Return why the outputs would overwrite each other or an input; empty if they do not."""
    names = [plain_name(path) for path in inputs] if output_dir else []
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        return f"two files would both be written to {twice} in --output-dir"
    outputs = [output_dir / name for name in names] if output_dir else [output] if output else []
    overwritten = next((path for path in inputs for output in outputs if _is_same_file(path, output)), None)
    return f"{overwritten} would be overwritten by its translation" if overwritten is not None else ""


def _is_same_file(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.samefile(other)


def check_read_again(inputs: Sequence[Path]) -> None:
    """Raise an error if an input is a pipe.

    Raises:
        UserError: it can be read only once, and a translation that can be gone on with reads it again.
    """
    from mtmoe.data.raw.lines import is_open_pipe

    if pipe := next((path for path in inputs if is_open_pipe(path)), None):
        raise UserError(
            f"{pipe}: is a pipe or device, which can be read only once: its translation cannot be resumed",
            fix="write its text to a file first, or leave out --resume and give --output, not --output-dir",
        )


def _planned_jobs(
    inputs: Sequence[Path], output: Path | None, output_dir: Path | None, identity: dict[str, Any]
) -> list[OutputJob]:
    examined: list[InputFile] = [examine_input(path) for path in inputs]
    if output is not None:
        groups = [(output, list(zip(inputs, examined, strict=True)))]
    else:
        assert output_dir is not None
        make_directory(output_dir)
        pairs = zip(inputs, examined, strict=True)
        groups = [(output_dir / plain_name(path), [(path, file)]) for path, file in pairs]
    names = [path.name for path, _ in groups] if output_dir is not None else []
    return [
        OutputJob(
            ResumableOutput(path, identity, [file for _, file in group], outputs=names),
            [source for source, _ in group],
            sum(file.num_lines for _, file in group),
        )
        for path, group in groups
    ]
