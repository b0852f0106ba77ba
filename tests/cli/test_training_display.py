"""What is shown of a training run."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

from mtmoe.cli.training_display import (
    PLAIN_LINE_EVERY_SECONDS,
    LiveTraining,
    PlainTraining,
    _live_display,
    beginning,
    duration,
    validation,
)
from rich.console import Console
from rich.progress import Progress

from mtmoe.training.metrics.records import (
    LayerMetrics,
    ModelQuality,
    RunSummary,
    TrainingMetrics,
    ValidationMetrics,
)

SUMMARY = RunSummary(
    step=0,
    max_steps=10_000,
    task="translation",
    num_parameters=12_820_736,
    num_train_pairs=29_000,
    num_left_out_pairs=3,
    num_valid_pairs=1014,
    device="cpu",
    num_threads=2,
    num_processes=1,
    expert_processes=1,
    precision="bf16",
)
LAYER = LayerMetrics(
    importance_cv=0.3,
    load_cv=0.123,
    max_over_mean_load=1.2,
    tokens_cv=0.1,
    max_over_mean_tokens=1.1,
    dead_experts=0,
    token_share_E=(0.5, 0.5),
    auxiliary_losses={},
)
STEP = TrainingMetrics(
    step=1200,
    max_steps=10_000,
    epoch=1,
    loss=3.25,
    perplexity=25.79,
    auxiliary_loss=0.01,
    gradient_norm=1.5,
    target_tokens_per_second=8123.4,
    source_and_target_tokens_per_second=16000.0,
    padding_share=0.1,
    tflops_per_device=0.05,
    learning_rate=0.001,
    skipped_steps=0,
    out_of_memory_steps=0,
    eta_seconds=3723.0,
    layers={"encoder.moe1": LAYER},
)


def validated(step: int, best_step: int, best_value: float, **quality: float) -> ValidationMetrics:
    return ValidationMetrics(
        step=step,
        epoch=0,
        quality=ModelQuality(loss=2.5, perplexity=12.18, **quality),
        metric="bleu",
        best_step=best_step,
        best_value=best_value,
        seconds=1.0,
    )


SHOWN = ("epoch 2", "loss 3.250", "perplexity 25.79", "8,123 target tokens/s", "1.00e-03", "load CV 0.12", "1:02:03")


def test_a_plain_step_line_has_every_measurement() -> None:
    lines: list[str] = []
    PlainTraining(lines.append, lambda: 0.0).step(STEP)
    [line] = lines
    assert line.startswith("step 1,200/10,000, ")
    assert all(shown in line for shown in SHOWN)


def test_a_dense_model_has_no_load_to_show() -> None:
    lines: list[str] = []
    PlainTraining(lines.append, lambda: 0.0).step(dataclasses.replace(STEP, layers={}))
    assert "load" not in lines[0]


def test_plain_step_lines_are_seconds_apart_but_validations_are_all_told() -> None:
    lines: list[str] = []
    seconds = iter(range(1000))
    reporter = PlainTraining(lines.append, lambda: float(next(seconds)))
    for _ in range(int(2 * PLAIN_LINE_EVERY_SECONDS)):
        reporter.step(STEP)
    assert len(lines) == 2
    for step in (1, 2):
        reporter.validated(validated(step, 1, 2.0))
    assert len(lines) == 4


def test_the_beginning_tells_model_text_and_machine() -> None:
    assert beginning(SUMMARY) == (
        "12,820,736 parameters; 29,000 training pairs (3 of them too long and left out), 1,014 dev pairs; "
        "cpu, bf16, 2 threads; from step 0"
    )


def test_a_validation_tells_whether_it_is_the_best() -> None:
    assert (
        validation(validated(2000, 2000, 21.5, bleu=21.5))
        == "validation at step 2,000: loss 2.500, perplexity 12.18, BLEU 21.50 (best so far)"
    )
    assert validation(validated(2000, 1000, 22.0, bleu=21.5)).endswith("(best 22.00 at step 1,000)")


def test_durations_read_like_a_clock() -> None:
    assert [duration(s) for s in (0, 59.6, 61, 3723)] == ["0:00", "1:00", "1:01", "1:02:03"]


def test_the_live_line_loses_nothing_on_a_narrow_terminal() -> None:
    screen = io.StringIO()
    with _live_display() as template:
        columns = template.columns
    console = Console(file=screen, width=70, force_terminal=True)
    display = Progress(*columns, console=console)
    reporter = LiveTraining(display)
    reporter.started(SUMMARY)
    reporter.step(STEP)
    reporter.advanced(1201)
    console.print(display.get_renderable())
    shown = " ".join(screen.getvalue().split())
    assert "step 1,201/10,000" in shown
    for number in ("loss", "3.250", "25.79", "8,123", "1.00e-03", "0.12", "1:02:03"):
        assert number in shown


def test_a_warning_reaches_the_person_in_both_displays(capsys) -> None:
    PlainTraining().warning("an expert is dead")
    assert capsys.readouterr().err == "warning: an expert is dead\n"
    screen = io.StringIO()
    reporter = LiveTraining(Progress(console=Console(file=screen)))
    reporter.warning("an expert is dead")
    reporter.saved(1, Path("x"))
    assert screen.getvalue() == "warning: an expert is dead\n"
