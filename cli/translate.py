"""``mtmoe translate``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from mtmoe.progress import Progress

from .console import shown_progress, warn
from .lines import decoded, line_chunks, opened_input, opened_output
from .options import FILE, checkpoint_option, decoding_set_option, device_option, run_argument

if TYPE_CHECKING:
    from mtmoe.inference.translator import Translation, Translator

# Lines that are sorted by length together: enough to fill batches, few enough to see progress.
_WINDOW_LINES = 1024


@click.command()
@run_argument
@click.option("--nbest", "num_best", type=click.IntRange(min=1), help="Write the N best translations of each line.")
@click.option("--scores", "with_scores", is_flag=True, help="Write score and log-probability before a translation.")
@click.option("--beam", "beam_size", type=click.IntRange(min=1), help="Beam size.  [default: the recipe's]")
@click.option("--input", "input_path", type=FILE, help="Read this file instead of standard input.")
@click.option("--output", "output_path", type=FILE, help="Write this file instead of standard output.")
@checkpoint_option
@decoding_set_option
@device_option
def translate(
    run: Path,
    num_best: int | None,
    with_scores: bool,
    beam_size: int | None,
    input_path: Path | None,
    output_path: Path | None,
    checkpoint: str,
    overrides: tuple[str, ...],
    device: str | None,
) -> None:
    """Translate standard input: one line out per line in, in order.

    An empty line stays empty. With --scores a line is score, log-probability and translation, with tabs between;
    with --nbest there is the number of the input line in front, and up to N lines for each, the best first.
    """
    from mtmoe.inference.translator import Translator

    if beam_size is not None:
        overrides = (*overrides, f"decoding.beam_size={beam_size}")
    translator = Translator(run, device=device, checkpoint=checkpoint, overrides=overrides)
    with (
        opened_input(input_path) as stream,
        opened_output(output_path) as write,
        shown_progress(beside_output=output_path is None) as progress,
    ):
        for number, translation in _translations(translator, stream, num_best or 1, progress):
            if translation.warning:
                warn(f"line {number}: {translation.warning}")
            write("".join(_output_lines(number, translation, num_best, with_scores)))


def _translations(
    translator: Translator, stream: BinaryIO, num_best: int, progress: Progress
) -> Iterator[tuple[int, Translation]]:
    """Number (from 1) and translation of every line, as soon as its chunk is done."""
    number = 0
    for chunk in line_chunks(stream, _WINDOW_LINES):
        texts = [decoded(line, number + place, warn) for place, line in enumerate(chunk, start=1)]
        for translation in translator.translate(texts, num_best=num_best):
            number += 1
            yield number, translation
        progress("translate", number, None, "lines")
    progress("translate", number, number, "lines")


def _output_lines(number: int, translation: Translation, num_best: int | None, with_scores: bool) -> Iterator[str]:
    for found in (translation, *translation.alternatives):
        columns = [found.text]
        if with_scores or num_best is not None:
            columns = [f"{found.score:.6f}", f"{found.log_probability:.6f}", *columns]
        if num_best is not None:
            columns = [str(number), *columns]
        yield "\t".join(columns) + "\n"
