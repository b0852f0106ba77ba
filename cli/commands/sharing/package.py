"""``mtmoe package``: a run as one file that translates anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtmoe import __version__
from mtmoe.errors import UserError

from ...console import command_line, note, number_of_bytes, shown_progress, write_data, write_json, write_table
from ...options import DIRECTORY, FILE, checkpoint_option, device_option, json_option, run_argument

if TYPE_CHECKING:
    from mtmoe.checkpoint.packages.package_manifest import Precision
    from mtmoe.sharing.dev_quality import DevQuality
    from mtmoe.sharing.packaging import Packaging

_ENDING = ".mtmoe"


@click.command()
@run_argument
@click.argument("file", metavar="FILE.mtmoe", type=FILE)
@click.option(
    "--weights",
    "precision",
    type=click.Choice(["int8", "bf16", "fp32"]),
    help="How weights are stored.  [default: the smallest that loses at most 0.1 BLEU on the dev set; bf16 where it is "
    "not measured]",
)
@click.option("--bleu/--no-bleu", "measures", default=True, show_default=True, help="Translate the dev set to compare.")
@click.option("--data", "data_dir", type=DIRECTORY, help="DATA_DIR with the dev set.  [default: the run's]")
@click.option(
    "--license",
    "license_id",
    default="",
    metavar="ID",
    help="Licence of the weights for the model card, as SPDX names it, such as apache-2.0.",
)
@checkpoint_option
@device_option
@json_option
def package(
    run: Path,
    file: Path,
    precision: Precision | None,
    measures: bool,
    data_dir: Path | None,
    license_id: str,
    checkpoint: str,
    device: str | None,
    as_json: bool,
) -> None:
    """Make one file of a run, to translate with anywhere.

    The file has weights, vocabulary, recipe, lexicon and a model card, and stands in place of RUN in translate, score,
    bleu, serve, explain, and in mtmoe.Translator. Of the recipe's paths of this machine the last part alone is in it.
    Nothing in it is pickled. The same run gives the same bytes.

    The dev set is translated with the run and with each kind of weights; the table tells sizes and BLEU.
    """
    from mtmoe.sharing.packaging import PackageOptions, package_run
    from mtmoe.system.process_settings import prepare_for_translation

    if file.suffix != _ENDING:
        raise click.UsageError(f"FILE is known as a package by its ending: {file.name}{_ENDING}")
    if not file.absolute().parent.is_dir():
        raise UserError(f"{file}: there is no directory {file.parent}", fix="make it first, or name another place")
    prepare_for_translation()
    options = PackageOptions(
        run, __version__, checkpoint, precision, measures, data_dir, license_id.strip().lower(), device
    )
    with shown_progress() as progress:
        done = package_run(options, file, progress)
    if as_json:
        write_json(_as_json(file, done))
    else:
        _show(done)
    note(f"{file}: {number_of_bytes(done.chosen.num_bytes)}, weights in {done.chosen.precision}")
    if done.before is None and precision is None:
        note("BLEU was not measured, so the weights are in bf16; --weights int8 is half of that")
    note(f"next: {command_line('translate', file)}")


def _as_json(file: Path, done: Packaging) -> dict[str, object]:
    return {
        "file": str(file),
        "weights": done.chosen.precision,
        "num_bytes": done.chosen.num_bytes,
        "run": done.before._asdict() if done.before else None,
        "choices": [
            {
                "weights": choice.precision,
                "num_bytes": choice.num_bytes,
                **(choice.quality._asdict() if choice.quality else {"bleu": None}),
            }
            for choice in done.choices
        ],
    }


def _show(done: Packaging) -> None:
    rows = []
    for choice in done.choices:
        chosen = f"{choice.precision}, as written" if choice.precision == done.chosen.precision else choice.precision
        rows.append((chosen, number_of_bytes(choice.num_bytes), *_scores(choice.quality)))
    if done.before is None:
        write_table(("weights", "size"), [row[:2] for row in rows])
        return
    write_table(("weights", "size", "BLEU", "chrF2"), [("the run itself", "", *_scores(done.before)), *rows])
    write_data(f"dev set, {done.before.num_sentences:,} sentences: {done.before.bleu_signature}\n")


def _scores(quality: DevQuality | None) -> tuple[str, str]:
    return (f"{quality.bleu:.2f}", f"{quality.chrf:.2f}") if quality is not None else ("", "")
