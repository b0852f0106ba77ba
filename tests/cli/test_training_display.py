"""Display of a training run."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest
from mtmoe.cli.console import columns_of
from mtmoe.cli.training_display import (
    PLAIN_COLUMNS,
    PLAIN_LINE_EVERY_SECONDS,
    LiveTraining,
    PlainTraining,
    beginning,
    beginning_from,
    duration,
    example,
    live_display,
    validation,
)
from rich.console import Console
from rich.progress import Progress

from mtmoe.checkpoint import StartRecord
from mtmoe.training.metrics.records import (
    DevSetMetrics,
    InterpolationMetrics,
    InterpolationTrial,
    LayerMetrics,
    ModelQuality,
    RunSummary,
    TrainingMetrics,
    TranslationExample,
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


HUGE = dataclasses.replace(
    STEP,
    step=999_999_999,
    max_steps=1_000_000_000,
    epoch=999_999,
    loss=50.0,
    perplexity=5.18e21,
    target_tokens_per_second=98_765_432.1,
    eta_seconds=1e9,
)
ALWAYS = ("step 1,200/10,000", "perplexity 25.79", "8,123 target tokens/s", "1:02:03 left")


def _plain_line(metrics: TrainingMetrics, columns: int = PLAIN_COLUMNS) -> str:
    lines: list[str] = []
    PlainTraining(lines.append, lambda: 0.0, columns).step(metrics)
    [line] = lines
    return line


def _live_line(metrics: TrainingMetrics, columns: int) -> list[str]:
    """The lines that the live display draws of a step."""
    screen = io.StringIO()
    console = Console(file=screen, width=columns, force_terminal=True, color_system=None)
    display = live_display(console)
    reporter = LiveTraining(display)
    reporter.started(SUMMARY._replace(max_steps=metrics.max_steps))
    reporter.advanced(metrics.step)
    reporter.step(metrics)
    screen.truncate(0)
    console.print(display.get_renderable())
    return [line.rstrip() for line in screen.getvalue().strip("\0").splitlines()]


def test_a_step_line_with_room_has_every_measurement() -> None:
    line = _plain_line(STEP, columns=150)
    assert line.startswith("step 1,200/10,000, ")
    assert all(shown in line for shown in SHOWN)


def test_a_plain_step_line_has_100_columns_at_most_and_what_is_wanted_first() -> None:
    assert _plain_line(STEP) == (
        "step 1,200/10,000, loss 3.250, perplexity 25.79, 8,123 target tokens/s, load CV 0.12, 1:02:03 left"
    )
    dense = dataclasses.replace(STEP, layers={})
    assert _plain_line(dense) == (
        "step 1,200/10,000, epoch 2, loss 3.250, perplexity 25.79, 8,123 target tokens/s, 1:02:03 left"
    )
    assert _plain_line(HUGE) == (
        "step 999,999,999/1,000,000,000, perplexity 5.2e+21, 98,765,432 target tokens/s, 11,574 days 2 h left"
    )
    assert max(len(_plain_line(metrics)) for metrics in (STEP, dense, HUGE)) <= 100


@pytest.mark.parametrize("columns", [80, 100, 113, 114, 160])
def test_the_live_line_is_one_line(columns: int) -> None:
    [line] = _live_line(STEP, columns)
    assert len(line) <= columns
    assert all(shown in line for shown in ALWAYS)
    assert ("load CV 0.12" in line) == (columns >= 100)
    assert ("━" in line) == (columns >= 114)
    if columns == 160:
        assert all(shown in line for shown in SHOWN)
    assert len(_live_line(HUGE, 100)) == 1


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


def test_bleu_of_several_dev_sets_stands_beside_their_mean() -> None:
    of_sets = {"news": DevSetMetrics(2.0, 30.125, "13a"), "replay": DevSetMetrics(2.5, 12.875, "13a")}
    told = validation(validated(2000, 2000, 21.5, bleu=21.5, dev_sets=of_sets))
    assert "BLEU 21.50 (news 30.12, replay 12.88) (best so far)" in told
    assert "(news" not in validation(validated(2000, 2000, 21.5, bleu=21.5, dev_sets={"news": of_sets["news"]}))


def test_a_start_is_told_by_what_was_taken_over_what_is_new_and_what_stays() -> None:
    start = StartRecord(
        run="/runs/base",
        checkpoints=("step-00000100",),
        weights_digest="0123456789abcdef" * 2,
        taken_over=("encoder", "embeddings of 90 subwords"),
        new=("step", "7 subwords"),
        frozen=("encoder: 1,000 parameters",),
    )
    assert beginning_from(start) == [
        "begins with the weights of /runs/base, step-00000100 (0123456789ab)",
        "  taken over: encoder; embeddings of 90 subwords",
        "  new: step; 7 subwords",
        "  frozen: encoder: 1,000 parameters",
    ]


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (0.5, "  kept: 0.50 of the trained weights, 0.50 of those at step 0: the old text may lose 1 BLEU"),
        (1.0, "  the trained weights are kept: the old text may lose 1 BLEU"),
        (None, "  nothing between gains on the new text while the old text may lose 1 BLEU: the trained weights stay"),
    ],
)
def test_an_interpolation_tells_its_trials_by_share_and_what_is_kept(share: float | None, told: str) -> None:
    trials = (
        InterpolationTrial(0.0, 3.0, 36.0),
        InterpolationTrial(1.0, 9.0, 33.0),
        InterpolationTrial(0.5, 6.0, 35.5),
    )
    metrics = InterpolationMetrics(step=3000, trained_share=share, most_lost_bleu=1.0, trials=trials, seconds=1.5)
    lines: list[str] = []
    PlainTraining(lines.append).interpolated(metrics)
    assert lines == [
        "weights between step 0 and step 3,000:",
        "  0.00 trained: BLEU 3.00 new, 36.00 old",
        "  0.50 trained: BLEU 6.00 new, 35.50 old",
        "  1.00 trained: BLEU 9.00 new, 33.00 old",
        told,
    ]


def test_durations_read_like_a_clock() -> None:
    assert [duration(s) for s in (0, 59.6, 61, 3723)] == ["0:00", "1:00", "1:01", "1:02:03"]
    assert [duration(s) for s in (359_999, 360_000)] == ["99:59:59", "4 days 4 h"]


def test_the_live_line_loses_nothing_that_is_wanted_first_on_a_narrow_terminal() -> None:
    shown = " ".join(" ".join(_live_line(dataclasses.replace(STEP, step=1201), 50)).split())
    for number in ("1,201/10,000", "25.79", "8,123", "1:02:03"):
        assert number in shown


EXAMPLES = (
    TranslationExample("Ein Mann schläft.", "A man is sleeping.", "A man sleeps."),
    TranslationExample("日" * 200, "\x1b[2Jred\nline \u202e", "word " * 50),
)


def test_a_validation_shows_its_translations_cut_to_the_line() -> None:
    lines: list[str] = []
    metrics = validated(1, 1, 2.0)
    quality = dataclasses.replace(metrics.quality, examples=EXAMPLES)
    PlainTraining(lines.append).validated(dataclasses.replace(metrics, quality=quality))
    [measured, shown] = lines
    assert measured.startswith("validation at step 1: ")
    assert shown.splitlines() == [
        "  source       Ein Mann schläft.",
        "  reference    A man is sleeping.",
        "  translation  A man sleeps.",
        "  source       " + "日" * 41 + "...",
        "  reference    \\x1b[2Jred\\nline \\u202e",
        "  translation  " + ("word " * 50)[:82].rstrip() + "...",
    ]


@pytest.mark.parametrize("columns", [40, 80, 100])
def test_translations_fit_the_terminal(columns: int) -> None:
    for it in EXAMPLES:
        assert all(columns_of(line) <= columns for line in example(it, columns))


def test_letters_that_the_terminal_lacks_do_not_lengthen_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    [source, _, _] = example(EXAMPLES[1], 40)
    assert source == "  source       \\u65e5\\u65e5\\u65e5\\u65..."


def test_a_warning_reaches_the_person_in_both_displays(capsys) -> None:
    PlainTraining().warning("an expert is dead")
    assert capsys.readouterr().err == "warning: an expert is dead\n"
    screen = io.StringIO()
    reporter = LiveTraining(Progress(console=Console(file=screen)))
    reporter.warning("an expert is dead")
    reporter.saved(1, Path("x"))
    assert screen.getvalue() == "warning: an expert is dead\n"
