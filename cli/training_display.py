"""Display of a training run: a live line on a terminal, plain lines elsewhere.

Both are a :class:`mtmoe.training.reporting.Reporter`.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtmoe.system.printable import printable

from .console import cut, is_terminal, note, shown_in, terminal_console, warn

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Display

    from mtmoe.checkpoint import StartRecord, TeacherRecord
    from mtmoe.training.metrics.records import (
        InterpolationMetrics,
        ModelQuality,
        RunSummary,
        TrainingMetrics,
        TranslationExample,
        ValidationMetrics,
    )

Formats = Mapping[str, Callable[[Any], str]]

PLAIN_LINE_EVERY_SECONDS = 10.0
PLAIN_COLUMNS = 100  # of a line that is not on a terminal
_BAR_COLUMNS = 12
_LEAST_COLUMNS_WITH_BAR = 114  # below, the measurements need the room
_DROPPED_FIRST = ("tflops_per_device", "learning_rate", "epoch", "loss", "max_load_cv")
"""Measurements that a line without room for all goes without, in this order; ``metrics.jsonl`` has them."""


@contextlib.contextmanager
def shown_training() -> Iterator[PlainTraining | LiveTraining]:
    """Yield the reporter that suits standard error."""
    if not is_terminal():
        yield PlainTraining()
        return
    with live_display(terminal_console()) as display:
        yield LiveTraining(display)


class PlainTraining:
    """Lasting lines: one for each event, and for steps at most one every few seconds."""

    def __init__(
        self,
        write: Callable[[str], None] = note,
        clock: Callable[[], float] = time.monotonic,
        columns: int = PLAIN_COLUMNS,
    ) -> None:
        self._write = write
        self._clock = clock
        self._columns = columns
        self._next_line_seconds = clock()

    def started(self, summary: RunSummary) -> None:
        """Tell what is trained, on what."""
        self._write(beginning(summary))

    def begun_from(self, start: StartRecord) -> None:
        """Tell which weights of another run this one begins with, and what begins anew."""
        for line in beginning_from(start):
            self._write(line)

    def taught_by(self, teachers: Sequence[TeacherRecord]) -> None:
        """Tell whose weights teach."""
        for teacher in teachers:
            self._write(f"is taught by {teacher.run}, {', '.join(teacher.checkpoints)} ({teacher.weights_digest[:12]})")

    def advanced(self, step: int) -> None:
        """Do nothing: a line for every step is too much."""

    def step(self, metrics: TrainingMetrics) -> None:
        """Tell how far it is, unless it was told just now."""
        now = self._clock()
        if now >= self._next_line_seconds:
            self._next_line_seconds = now + PLAIN_LINE_EVERY_SECONDS
            place = step_of(metrics.step, metrics.max_steps)
            self._write(f"{place}, {measurements(metrics, self._columns - len(place) - 2, ', ')}")

    def validated(self, metrics: ValidationMetrics) -> None:
        """Tell what was measured on the dev set, and show a translation or two."""
        self._write(validation(metrics))
        if metrics.quality.examples:
            self._write("\n".join(line for it in metrics.quality.examples for line in example(it, self._columns)))

    def interpolated(self, metrics: InterpolationMetrics) -> None:
        """Tell what was tried between step 0 and the last one, and what is kept."""
        for line in interpolation(metrics):
            self._write(line)

    def saved(self, step: int, path: Path) -> None:
        """Tell where a checkpoint is."""
        self._write(f"saved {path}")

    def warning(self, text: str) -> None:
        """Pass on what a person should look at."""
        warn(text)

    def finished(self, reason: str) -> None:
        """Do nothing: the command tells how it ended, and what to do next."""


class LiveTraining(PlainTraining):
    """One line for the steps that is drawn anew; all else scrolls by above it."""

    def __init__(self, display: Display) -> None:
        super().__init__(
            write=lambda text: display.console.print(
                shown_in(printable(text), sys.stderr), markup=False, soft_wrap=True
            ),
            columns=display.console.width,
        )
        self._display = display
        self._has_bar = has_bar(display.console)
        self._task: Any = None
        self._max_steps = 0

    def started(self, summary: RunSummary) -> None:
        """Tell what is trained, and draw the line."""
        super().started(summary)
        self._max_steps = summary.max_steps
        self._task = self._display.add_task("", total=self._max_steps, shown_step="", measured="")
        self.advanced(summary.step)

    def advanced(self, step: int) -> None:
        """Count the step."""
        self._display.update(self._task, completed=step, shown_step=step_of(step, self._max_steps))

    def step(self, metrics: TrainingMetrics) -> None:
        """Draw the line anew with what was measured."""
        taken = len(step_of(self._max_steps, self._max_steps)) + 1 + (_BAR_COLUMNS + 1 if self._has_bar else 0)
        self._display.update(self._task, measured=measurements(metrics, self._display.console.width - taken, "  "))

    def saved(self, step: int, path: Path) -> None:
        """Do nothing: on a terminal, checkpoints are not worth a line each."""

    def warning(self, text: str) -> None:
        """Pass on what a person should look at."""
        self._write(f"warning: {text}")


def beginning(summary: RunSummary) -> str:
    """Return ``12,820,736 parameters; 40,012 training pairs, 1,000 dev pairs; cpu, bf16, 2 threads; from step 0``"""
    left_out = summary.num_left_out_pairs
    unit = "sentences" if summary.task == "language-model" else "pairs"
    too_long = f" ({left_out:,} of them too long and left out)" if left_out else ""
    return (
        f"{summary.num_parameters:,} parameters; {summary.num_train_pairs:,} training {unit}{too_long}, "
        f"{summary.num_valid_pairs:,} dev {unit}; {summary.device}, {summary.precision}, "
        f"{summary.num_threads} threads; from step {summary.step:,}"
    )


def beginning_from(start: StartRecord) -> list[str]:
    """Return some lines: the start run, what was taken over of it, and what begins anew or stays as it is."""
    return [
        f"begins with the weights of {start.run}, {', '.join(start.checkpoints)} ({start.weights_digest[:12]})",
        f"  taken over: {'; '.join(start.taken_over)}",
        f"  new: {'; '.join(start.new)}",
        *(f"  frozen: {text}" for text in start.frozen),
    ]


def step_of(step: int, max_steps: int) -> str:
    """Return ``step 1,200/10,000``."""
    return f"step {step:,}/{max_steps:,}"


def measurements(metrics: TrainingMetrics, columns: int, separator: str) -> str:
    """Return the measured values in the order in which they are read, as many as fit into so many columns.

    Perplexity, tokens per second and the time that is left are always there.
    """
    shown = _formatted(
        metrics,
        {
            "epoch": lambda epoch: f"epoch {epoch + 1:,}",
            "loss": lambda loss: f"loss {loss:.3f}",
            "perplexity": lambda perplexity: f"perplexity {_large(perplexity)}",
            "target_tokens_per_second": lambda rate: f"{rate:,.0f} target tokens/s",
            "tflops_per_device": lambda rate: f"{rate:.3g} TFLOPS",
            "learning_rate": lambda rate: f"learning rate {rate:.2e}",
            "max_load_cv": lambda variation: f"load CV {variation:.2f}",
            "eta_seconds": lambda seconds: f"{duration(seconds)} left",
        },
    )
    for name in _DROPPED_FIRST:
        if len(separator.join(shown.values())) > columns:
            shown.pop(name, None)
    return separator.join(shown.values())


def validation(metrics: ValidationMetrics) -> str:
    """Return ``validation at step 1,000: loss 2.345, perplexity 10.43, BLEU 21.50 (best so far)``."""
    measured = _formatted(
        metrics.quality,
        {
            "loss": lambda loss: f"loss {loss:.3f}",
            "perplexity": lambda perplexity: f"perplexity {perplexity:.2f}",
            "bleu": lambda bleu: f"BLEU {bleu:.2f}",
        },
    )
    sets = {name: of_set.bleu for name, of_set in metrics.quality.dev_sets.items() if of_set.bleu is not None}
    if len(sets) > 1:  # beside each other: what is gained on one may be lost on another
        measured["bleu"] += f" ({', '.join(f'{name} {bleu:.2f}' for name, bleu in sets.items())})"
    is_best = metrics.best_step == metrics.step
    best = "best so far" if is_best else f"best {metrics.best_value:.2f} at step {metrics.best_step:,}"
    return f"validation at step {metrics.step:,}: {', '.join(measured.values())} ({best})"


def interpolation(metrics: InterpolationMetrics) -> list[str]:
    """Return a line for each trial in the order of the shares, and one that says what is kept."""
    trials = sorted(metrics.trials)
    kept = next((trial for trial in trials if trial.share == metrics.trained_share), None)
    lost = f"the old text may lose {metrics.most_lost_bleu:g} BLEU"
    if kept is None:
        end = f"  nothing between gains on the new text while {lost}: the trained weights stay"
    elif kept.share == 1:
        end = f"  the trained weights are kept: {lost}"
    else:
        end = f"  kept: {kept.share:.2f} of the trained weights, {1 - kept.share:.2f} of those at step 0: {lost}"
    return [
        f"weights between step 0 and step {metrics.step:,}:",
        *(f"  {it.share:.2f} trained: BLEU {it.new_bleu:.2f} new, {it.old_bleu:.2f} old" for it in trials),
        end,
    ]


def example(it: TranslationExample, columns: int) -> list[str]:
    """Return three lines of at most so many columns: source, reference and translation of a dev sentence."""
    texts = ((name, shown_in(printable(text), sys.stderr)) for name, text in zip(it._fields, it, strict=True))
    return [cut(f"  {name:11}  {text}", columns) for name, text in texts]


def _formatted(metrics: TrainingMetrics | ModelQuality, formats: Formats) -> dict[str, str]:
    """Return the values that are there, each by its name and in its format."""
    values = {name: getattr(metrics, name) for name in formats}
    return {name: formats[name](value) for name, value in values.items() if value is not None}


def _large(value: float) -> str:
    return f"{value:.2f}" if value < 1000 else f"{value:,.0f}" if value < 1e6 else f"{value:.1e}"


def duration(seconds: float) -> str:
    """Return ``2:03``, ``1:02:03``, or from a hundred hours on ``4 days 5 h``."""
    if seconds >= 100 * 3600:
        return f"{seconds // 86400:,.0f} days {seconds % 86400 / 3600:.0f} h"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def has_bar(console: Console) -> bool:
    """Return whether the live line has room for a bar."""
    return console.width >= _LEAST_COLUMNS_WITH_BAR


def live_display(console: Console) -> Display:
    """Return a display with one line, for :class:`LiveTraining`: step, a bar where there is room, measurements."""
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    return Progress(
        TextColumn("{task.fields[shown_step]}", markup=False),
        *([BarColumn(bar_width=_BAR_COLUMNS)] if has_bar(console) else []),
        # On a narrow terminal the measurements that are always there take several lines, so that none is lost.
        TextColumn("{task.fields[measured]}", markup=False, table_column=Column(no_wrap=False)),
        console=console,
    )
