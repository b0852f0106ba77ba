"""``mtmoe explain``: why lines are translated as they are."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mtmoe import __version__
from mtmoe.errors import UserError

from ...console import note, number_of_bytes, shown_progress, write_data
from ...lines import STANDARD_INPUT, read_lines
from ...options import FILE, checkpoint_option, decoding_set_option, device_option, model_argument

_MOST_ALTERNATIVES = 100
_MOST_EXPERTS = 1000


@click.command()
@model_argument
@click.argument("file", metavar="[FILE]", default=STANDARD_INPUT, type=FILE)
@click.option(
    "--output", type=FILE, default=Path("explanation.html"), show_default=True, help="Where to write the page (HTML)."
)
@click.option("--json", "as_json", is_flag=True, help="Write a JSON object a line to standard output, and no page.")
@click.option(
    "--alternatives",
    "num_alternatives",
    type=click.IntRange(0, _MOST_ALTERNATIVES),
    default=4,
    show_default=True,
    help="Other tokens to name beside each token of a translation.",
)
@click.option(
    "--ablation/--no-ablation",
    "with_ablation",
    default=True,
    show_default=True,
    help="Compute what each expert contributes to log P of a translation, which takes several times as long.",
)
@click.option(
    "--without",
    "num_without",
    type=click.IntRange(0, _MOST_EXPERTS),
    default=3,
    show_default=True,
    help="Translate each line again without each of the N experts that contribute most.",
    metavar="N",
)
@checkpoint_option
@decoding_set_option
@device_option
def explain(
    run: Path,
    file: Path,
    output: Path,
    as_json: bool,
    num_alternatives: int,
    with_ablation: bool,
    num_without: int,
    checkpoint: str,
    overrides: tuple[str, ...],
    device: str | None,
) -> None:
    """Tell why lines are translated as they are.

    The lines of FILE (or -, standard input) are translated as `mtmoe translate` does. For each token of a translation
    the page has its probability, those of others that could have stood there, what it looked at in the source, and the
    experts that took part in it with their gates; for each token of the source its experts, too.

    What an expert contributes is log P of the translation less log P without it: it is taken out of the choice of its
    layer's gate, wherever it was chosen, and the gates of a token's other experts are divided by what is left
    (softmax of eq. 3 without it). The line is also translated again without each of those that contribute most.

    With --json, each line of the answer is an object with source, translation, log_probability, layers, parts (most
    lines have one: source_tokens, target_tokens, contributions) and without.
    """
    from mtmoe.explanation.explainer import Explainer, ExplanationOptions
    from mtmoe.explanation.explanation import as_json as json_of
    from mtmoe.explanation.page import MOST_LINES, explanation_page
    from mtmoe.system.atomic_files import write_atomically
    from mtmoe.system.process_settings import prepare_for_translation

    if not as_json and not output.absolute().parent.is_dir():
        raise UserError(f"{output}: there is no directory {output.parent}", fix="make it first, or name another place")
    lines = read_lines(file)
    name = "standard input" if file == STANDARD_INPUT else str(file)
    if not lines:
        raise UserError(f"{name}: has no line to explain", fix="give a sentence a line")
    if not as_json and len(lines) > MOST_LINES:
        raise UserError(
            f"{name}: has {len(lines):,} lines, and a page has {MOST_LINES} at most",
            fix="give fewer of them, or add --json",
        )
    prepare_for_translation()
    options = ExplanationOptions(num_alternatives, with_ablation, num_without)
    explainer = Explainer(run, device=device, checkpoint=checkpoint, overrides=overrides, options=options)
    with shown_progress() as progress:
        explained = explainer.explain(lines, progress)
    if as_json:
        for line in explained:
            write_data(json.dumps(json_of(line), ensure_ascii=False) + "\n")
        return
    used = explainer.translator.loaded.checkpoint.name
    page = explanation_page(explained, run.resolve().name, used, __version__, with_ablation=with_ablation).encode()
    write_atomically(output, page)
    note(f"{output}: {number_of_bytes(len(page))}")
