"""``mtmoe bench translate``: speed and quality of decoding settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtmoe.errors import UserError
from mtmoe.languages import Tokeniser

from ...bleu_texts import text_language, tokeniser_for, warn_of_language
from ...console import number, number_of_bytes, shown_progress, warn, write_data, write_json, write_table, write_text
from ...lines import read_aligned, read_lines
from ...options import (
    FILE,
    checkpoint_option,
    decoding_set_option,
    devices_of,
    devices_option,
    json_option,
    model_argument,
    threads_option,
    translators_option,
)

if TYPE_CHECKING:
    from mtmoe.benchmark.translation_speed import TranslationSpeed
    from mtmoe.config import Recipe


@click.command()
@model_argument
@click.option("--source", "source_path", type=FILE, help="Translate this file.  [default: the run's first test set]")
@click.option("--reference", "reference_path", type=FILE, help="Its translation, for BLEU.")
@click.option(
    "--vary",
    "varied",
    multiple=True,
    metavar="decoding.KEY=VALUE,VALUE,...",
    callback=lambda _context, _option, texts: tuple(map(key_and_values, texts)),
    help="Measure each of these values. Can be repeated, for all combinations.",
)
@click.option(
    "--rounds", type=click.IntRange(1, 1000), default=3, show_default=True, help="Measurements of each, in turn."
)
@click.option(
    "--single",
    "num_single",
    type=click.IntRange(1, 1_000_000),
    default=100,
    show_default=True,
    help="Sentences that are translated one by one, for the latency.",
)
@threads_option
@translators_option
@checkpoint_option
@decoding_set_option
@devices_option
@json_option
def translate(
    run: Path,
    source_path: Path | None,
    reference_path: Path | None,
    varied: tuple[tuple[str, tuple[str, ...]], ...],
    rounds: int,
    num_single: int,
    threads: int | None,
    num_workers: int,
    checkpoint: str,
    overrides: tuple[str, ...],
    device: str | None,
    as_json: bool,
) -> None:
    """Measure how fast a run translates, and how well.

    Sentences and target subwords per second, the latency of one sentence, peak memory, and BLEU, without loading and
    after warming up. Settings are measured in turn, each time in a new process; figures are medians, and "ratio" is
    that of sentences/s to the first row. CPU seconds and memory of several --workers are not measured.

    \b
    mtmoe bench translate RUN --vary decoding.beam_size=1,5 --vary decoding.batch_tokens=4096,16384
    mtmoe bench translate RUN --vary 'decoding.shortlist=false,{}' --set decoding.beam_size=5
    """
    import torch

    from mtmoe.benchmark.machine import hardware_name
    from mtmoe.benchmark.translation_speed import SpeedTest, cases_of, run_translation_benchmark
    from mtmoe.checkpoint import open_model
    from mtmoe.device import choose_device
    from mtmoe.inference.translator import decoding_settings
    from mtmoe.system.cpu_cores import num_cores

    recipe = open_model(run).recipe()
    tokeniser: Tokeniser = "13a"
    source, reference, language = _text_to_translate(run, recipe, source_path, reference_path)
    if reference is not None:
        tokeniser = tokeniser_for(language, None, [recipe])
        warn_of_language(language, [recipe])
    keys = [key for key, _ in varied]
    if twice := next((key for key in keys if keys.count(key) > 1), ""):
        raise click.UsageError(f"--vary has {twice} twice: give all its values at once, {twice}=VALUE,VALUE,...")
    if num_workers > 1 and threads:
        raise click.UsageError("--threads is of one process: --workers share the cores")
    devices = [choose_device(name) for name in devices_of(device, num_workers)]
    cases = cases_of(varied)
    for settings in cases:  # a mistake should not come to light after other cases were measured
        decoding_settings(run, (*overrides, *settings))
    test = SpeedTest(
        run=str(run),
        checkpoint=checkpoint,
        device=",".join(map(str, devices)),
        num_threads=max(1, num_cores() // num_workers) if num_workers > 1 else threads or torch.get_num_threads(),
        overrides=overrides,
        sources=tuple(source),
        num_single=num_single,
        num_workers=num_workers,
    )
    with shown_progress() as progress:
        results = run_translation_benchmark(
            test,
            cases,
            reference,
            tokeniser=tokeniser,
            num_rounds=rounds,
            progress=progress,
        )
    for text in dict.fromkeys(text for result in results for text in result.warnings):
        warn(text)
    facts = {
        "hardware": hardware_name(devices[0]),
        "torch": torch.__version__,
        "run": str(run),
        "checkpoint": checkpoint,
        "num_workers": num_workers,
        "devices": test.device,
        "num_threads": test.num_threads,
        "num_sentences": sum(bool(line.strip()) for line in source),
        "settings": " ".join(overrides),
        "rounds": rounds,
    }
    if as_json:
        write_json(facts | {"cases": [result._asdict() for result in results]})
        return
    write_table(("setting", "value"), [(name.replace("_", " "), number(value)) for name, value in facts.items()])
    write_data("\n")
    _show_translation_speeds(results)


def _show_translation_speeds(results: list[TranslationSpeed]) -> None:
    """Write a table with a row for each case, and below it what reproduces its BLEU."""
    columns = ("settings", "sentences/s", "ratio", "target tokens/s", "CPU s", "p50 ms", "p95 ms", "peak", "BLEU")
    rows = [
        (
            " ".join(result.settings) or "as the run says",
            f"{result.sentences_per_second:,.1f}",
            f"{result.over_first:.2f}",
            f"{result.target_tokens_per_second:,.0f}",
            "" if result.cpu_seconds is None else f"{result.cpu_seconds:,.2f}",
            f"{result.latency_p50_ms:,.1f}",
            f"{result.latency_p95_ms:,.1f}",
            "" if result.peak_bytes is None else number_of_bytes(result.peak_bytes),
            "" if result.bleu is None else f"{result.bleu:.2f}",
        )
        for result in results
    ]
    write_table(columns, rows)
    if results[0].bleu_signature:
        write_text(f"BLEU: {results[0].bleu_signature}\n")


def _text_to_translate(
    run: Path, recipe: Recipe, source_path: Path | None, reference_path: Path | None
) -> tuple[list[str], list[str] | None, str]:
    """Return source lines, their reference translations if there are any, and the code of the target language."""
    if source_path is not None and reference_path is not None:
        source, reference = read_aligned(source_path, reference_path)
        return source, reference, text_language(source, recipe.data)
    if source_path is not None:
        return read_lines(source_path), None, ""
    if reference_path is not None:
        raise click.UsageError("--reference is the translation of --source: give both, or none")
    from mtmoe.checkpoint.run_data import run_data
    from mtmoe.data.prepared.data_directory import open_prepared

    prepared = open_prepared(run_data(run))
    test_sets = prepared.test_sets
    if not test_sets:
        raise UserError(f"{run}: has no test set", fix="give text to translate: --source FILE --reference FILE")
    name, first = next(iter(test_sets.items()))
    source, reference = read_aligned(first.source, first.reference)
    return source, reference, prepared.target_language("test", name)


def key_and_values(text: str) -> tuple[str, tuple[str, ...]]:
    """Split ``key=a,b`` into the key and its values; commas inside of brackets divide nothing."""
    key, _, values = text.partition("=")
    parts, depth = [""], 0
    for letter in values:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    stripped = tuple(part.strip() for part in parts)
    if not key.startswith("decoding.") or not all(stripped):
        raise click.BadParameter(
            f"{text!r} is not of the form decoding.KEY=VALUE,VALUE, such as decoding.beam_size=1,5"
        )
    return key.strip(), stripped
