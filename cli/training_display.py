"""What a person sees of a training run: a live line on a terminal, plain lines elsewhere.

Both are a :class:`mtmoe.training.reporting.Reporter`.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtmoe.system.printable import printable

from .console import is_terminal, note, shown_in, terminal_console, warn

if TYPE_CHECKING:
    from rich.progress import Progress as Display

    from mtmoe.training.metrics.records import ModelQuality, RunSummary, TrainingMetrics, ValidationMetrics

Formats = Mapping[str, Callable[[Any], str]]

PLAIN_LINE_EVERY_SECONDS = 10.0


@contextlib.contextmanager
def shown_training() -> Iterator[PlainTraining | LiveTraining]:
    """The reporter that suits standard error."""
    if not is_terminal():
        yield PlainTraining()
        return
    with _live_display() as display:
        yield LiveTraining(display)


class PlainTraining:
    """Lasting lines: one for each event, and for steps at most one every few seconds."""

    def __init__(self, write: Callable[[str], None] = note, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._next_line_seconds = clock()

    def started(self, summary: RunSummary) -> None:
        """Say what is trained, on what."""
        self._write(beginning(summary))

    def advanced(self, step: int) -> None:
        """Nothing: a line for every step is too much."""

    def step(self, metrics: TrainingMetrics) -> None:
        """Say how far it is, unless it was said just now."""
        now = self._clock()
        if now >= self._next_line_seconds:
            self._next_line_seconds = now + PLAIN_LINE_EVERY_SECONDS
            self._write(", ".join([step_of(metrics.step, metrics.max_steps), *measurements(metrics)]))

    def validated(self, metrics: ValidationMetrics) -> None:
        """Say what was measured on the dev set."""
        self._write(validation(metrics))

    def saved(self, step: int, path: Path) -> None:
        """Say where a checkpoint is."""
        self._write(f"saved {path}")

    def warning(self, text: str) -> None:
        """Pass on what a person should look at."""
        warn(text)

    def finished(self, reason: str) -> None:
        """Nothing: the command says how it ended, and what to do next."""


class LiveTraining(PlainTraining):
    """The steps are one line that is drawn anew; all else scrolls by above it."""

    def __init__(self, display: Display) -> None:
        super().__init__(
            write=lambda text: display.console.print(
                shown_in(printable(text), sys.stderr), markup=False, soft_wrap=True
            )
        )
        self._display = display
        self._task: Any = None
        self._max_steps = 0

    def started(self, summary: RunSummary) -> None:
        """Say what is trained, and draw the line."""
        super().started(summary)
        self._max_steps = summary.max_steps
        self._task = self._display.add_task("", total=self._max_steps, shown_step="", measured="")
        self.advanced(summary.step)

    def advanced(self, step: int) -> None:
        """Count the step."""
        self._display.update(self._task, completed=step, shown_step=step_of(step, self._max_steps))

    def step(self, metrics: TrainingMetrics) -> None:
        """Draw the line anew with what was measured."""
        self._display.update(self._task, measured="  ".join(measurements(metrics)))

    def saved(self, step: int, path: Path) -> None:
        """Nothing: on a terminal, checkpoints are not worth a line each."""

    def warning(self, text: str) -> None:
        """Pass on what a person should look at."""
        self._write(f"warning: {text}")


def beginning(summary: RunSummary) -> str:
    """``12,820,736 parameters; 40,012 training pairs, 1,000 dev pairs; cpu, bf16, 2 threads; from step 0``"""
    left_out = summary.num_left_out_pairs
    unit = "sentences" if summary.task == "language-model" else "pairs"
    too_long = f" ({left_out:,} of them too long and left out)" if left_out else ""
    return (
        f"{summary.num_parameters:,} parameters; {summary.num_train_pairs:,} training {unit}{too_long}, "
        f"{summary.num_valid_pairs:,} dev {unit}; {summary.device}, {summary.precision}, "
        f"{summary.num_threads} threads; from step {summary.step:,}"
    )


def step_of(step: int, max_steps: int) -> str:
    """``step 1,200/10,000``"""
    return f"step {step:,}/{max_steps:,}"


def measurements(metrics: TrainingMetrics) -> list[str]:
    """The measured values, those that are there, in the order in which they are read."""
    return _formatted(
        metrics,
        {
            "epoch": lambda epoch: f"epoch {epoch + 1}",
            "loss": lambda loss: f"loss {loss:.3f}",
            "perplexity": lambda perplexity: f"perplexity {perplexity:.2f}",
            "target_tokens_per_second": lambda rate: f"{rate:,.0f} target tokens/s",
            "tflops_per_device": lambda rate: f"{rate:.3g} TFLOPS",
            "learning_rate": lambda rate: f"learning rate {rate:.2e}",
            "max_load_cv": lambda variation: f"load CV {variation:.2f}",
            "eta_seconds": lambda seconds: f"{duration(seconds)} left",
        },
    )


def validation(metrics: ValidationMetrics) -> str:
    """``validation at step 1,000: loss 2.345, perplexity 10.43, BLEU 21.50 (best so far)``"""
    measured = _formatted(
        metrics.quality,
        {
            "loss": lambda loss: f"loss {loss:.3f}",
            "perplexity": lambda perplexity: f"perplexity {perplexity:.2f}",
            "bleu": lambda bleu: f"BLEU {bleu:.2f}",
        },
    )
    is_best = metrics.best_step == metrics.step
    best = "best so far" if is_best else f"best {metrics.best_value:.2f} at step {metrics.best_step:,}"
    return f"validation at step {metrics.step:,}: {', '.join(measured)} ({best})"


def _formatted(metrics: TrainingMetrics | ModelQuality, formats: Formats) -> list[str]:
    values = ((getattr(metrics, name), show) for name, show in formats.items())
    return [show(value) for value, show in values if value is not None]


def duration(seconds: float) -> str:
    """``1:02:03`` or ``2:03``"""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _live_display() -> Display:
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    return Progress(
        TextColumn("{task.fields[shown_step]}", markup=False),
        BarColumn(bar_width=12),
        # On a narrow terminal the measurements take several lines, so that none is lost.
        TextColumn("{task.fields[measured]}", markup=False, table_column=Column(no_wrap=False)),
        console=terminal_console(),
    )
