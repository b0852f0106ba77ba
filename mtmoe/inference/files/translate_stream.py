"""Translation of streams: a pipe is answered at once."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from mtmoe.inference.files.answers import Answers, chunk_translator
from mtmoe.inference.files.line_chunks import TextInput, raw_line_chunks
from mtmoe.inference.files.resumable_output import examine_input
from mtmoe.inference.files.translation_options import NOBODY, TranslatedLines, TranslationListener, TranslationOptions
from mtmoe.progress import Progress, silent


def translate_stream(
    options: TranslationOptions,
    inputs: Sequence[TextInput],
    output: contextlib.AbstractContextManager[Callable[[str], Any]],
    *,
    progress: Progress = silent,
    listener: TranslationListener = NOBODY,
) -> TranslatedLines:
    """Translate files or streams, one after the other, and write the answers at once; this is never resumed.

    Args:
        inputs: files, or streams of bytes such as ``sys.stdin.buffer``.
        output: is entered when the model is loaded, and yields a function that writes text; for example
            ``contextlib.nullcontext(sys.stdout.write)``.

    Raises:
        UserError: an input cannot be read; as :class:`mtmoe.Translator`.
    """
    total = count_lines(inputs)
    with chunk_translator(options, listener) as translate_chunks, output as write:
        answers = Answers(options, listener)
        progress("translate", 0, total, "lines")
        chunks = raw_line_chunks(inputs, answers.chunk_size, tell_pauses=answers.tell_pauses)
        for text, _, _ in answers.translated(chunks, translate_chunks):
            write(text)
            progress("translate", answers.num_done, total, "lines")
        progress("translate", answers.num_done, answers.num_done, "lines")
    return answers.result()


def count_lines(inputs: Sequence[TextInput]) -> int | None:
    """Return how many lines the inputs have together; None if one is a pipe, which can be read only once.

    Raises:
        UserError: a file cannot be read, or holds no text.
    """
    from mtmoe.data.raw.lines import is_open_pipe

    if any(isinstance(source, Path) and is_open_pipe(source) for source in inputs):
        return None
    counts = [examine_input(source).num_lines if isinstance(source, Path) else _lines_left(source) for source in inputs]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _lines_left(stream: BinaryIO) -> int | None:
    """Return how many lines are left in a stream, if it is a file (``< text.en``); else nobody knows."""
    try:
        descriptor = stream.fileno()
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
