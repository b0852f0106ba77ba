"""Output jobs: a file, and the lines that are answered into it, from where an earlier command has stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mtmoe.inference.files.answers import Answers, TranslateChunks
from mtmoe.inference.files.line_chunks import raw_line_chunks
from mtmoe.inference.files.resumable_output import ResumableOutput
from mtmoe.inference.files.translation_options import TranslationListener


class OutputJob(NamedTuple):
    """An output and the lines that are answered into it."""

    output: ResumableOutput
    inputs: Sequence[Path]
    num_lines: int
    first_line: int = 0
    """From 0, over all inputs: those before it are of no interest."""


def do_job(
    job: OutputJob,
    answers: Answers,
    translate_chunks: TranslateChunks,
    told: Callable[[int], None],
    listener: TranslationListener,
    *,
    resume: bool,
    is_begun: bool = False,
) -> None:
    """Answer the lines that are left, and put the output in its place.

    Args:
        told: is told how many lines are done, those of earlier jobs too.
        resume: go on with what is there; else it is begun anew.
        is_begun: as for :meth:`ResumableOutput.opened`.

    Raises:
        UserError: an input cannot be read; as :meth:`ResumableOutput.opened`.
    """
    path = job.output.output
    with job.output.opened(resume=resume, is_begun=is_begun) as output:
        answers.faults = answers.faults.plus(job.output.faults)
        if output is None:
            listener.complete_already(path)
            answers.num_done += job.num_lines
            return
        if resume:
            listener.resumed(path, output.num_lines_done, job.num_lines)
        answers.num_done += output.num_lines_done
        told(answers.num_done)
        try:
            chunks = raw_line_chunks(
                job.inputs,
                answers.chunk_size,
                num_skipped=job.first_line + output.num_lines_done,
                end=job.first_line + job.num_lines,
                tell_pauses=answers.tell_pauses,
            )
            for text, num_answered, faults in answers.translated(chunks, translate_chunks):
                output.write(text, num_answered, faults)
                told(answers.num_done)
        except BaseException:
            if output.num_lines_done:
                listener.stopped(path, output.num_lines_done, job.num_lines)
            raise
        output.finish()
