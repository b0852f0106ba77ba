"""Display of a translation of files: messages and progress."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mtmoe.inference.files.translation_options import TranslationListener
from mtmoe.progress import Progress

from .console import note, shown_progress, warn


class TranslationNotes(TranslationListener):
    """Notes on standard error about what happens."""

    def warning(self, text: str) -> None:
        warn(text)

    def complete_already(self, output: Path) -> None:
        note(f"{output}: complete already")

    def resumed(self, output: Path, num_lines_done: int, num_lines: int) -> None:
        note(f"{output}: going on after line {num_lines_done:,} of {num_lines:,}")

    def stopped(self, output: Path, num_lines_done: int, num_lines: int) -> None:
        note(
            f"{output}: stopped after line {num_lines_done:,} of {num_lines:,}, which is saved; "
            "to go on, add --resume to the same command"
        )


@contextlib.contextmanager
def progress_once_told(*, beside_output: bool = False) -> Iterator[Progress]:
    """Yield a progress callback as :func:`shown_progress`, of which nothing is shown before the first call: models are
    loaded before."""
    with contextlib.ExitStack() as stack:
        progress: Progress | None = None

        def told(stage: str, done: int, total: int | None, unit: str) -> None:
            nonlocal progress
            progress = progress or stack.enter_context(shown_progress(beside_output=beside_output))
            progress(stage, done, total, unit)

        yield told
