"""``mtmoe tune-decoding``: faster settings of translating that lose nothing which a run's dev set shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...console import note, shown_progress, write_data, write_json, write_table
from ...lines import read_aligned
from ...options import DIRECTORY, FILE, checkpoint_option, json_option, run_argument

if TYPE_CHECKING:
    from mtmoe.training.decoding_tuning import Tuning


@click.command(name="tune-decoding")
@run_argument
@click.option("--source", "source_path", type=FILE, help="Try it on this text, not on the run's dev set.")
@click.option("--reference", "reference_path", type=FILE, help="Its translation.")
@click.option("--data", "data_dir", type=DIRECTORY, help="DATA_DIR with the dev set.  [default: the run's]")
@checkpoint_option
@json_option
def tune_decoding(
    run: Path,
    source_path: Path | None,
    reference_path: Path | None,
    data_dir: Path | None,
    checkpoint: str,
    as_json: bool,
) -> None:
    """Find out how a run translates fastest on a CPU without a loss.

    Up to 500 lines of the dev set are translated with the recipe's settings and with faster ones. Kept in
    RUN/fast_decoding.json is the fastest way that loses at most 0.1 BLEU, and `mtmoe translate`, `bleu` and `serve`
    take it from then on. A training on a CPU ends with this, so it is only called for a run that was trained elsewhere,
    or by an older version. `--set decoding.mode=exact` translates as the recipe says.

    BLEU depends on nothing but the run; sentences/s are of this machine as it is now.
    """
    if (source_path is None) != (reference_path is None):
        raise click.UsageError("--source and --reference are given together")
    from mtmoe.checkpoint.run_data import run_data
    from mtmoe.data.prepared.data_directory import open_prepared
    from mtmoe.errors import UserError
    from mtmoe.system.process_settings import prepare_for_translation
    from mtmoe.training.decoding_tuning import FEWEST_LINES
    from mtmoe.training.decoding_tuning import tune_decoding as tune

    if source_path is not None and reference_path is not None:
        sources, references = read_aligned(source_path, reference_path)
    else:
        prepared = open_prepared(data_dir or run_data(run))
        sources, references = list(prepared.valid_source), list(prepared.valid_target)
    prepare_for_translation()
    with shown_progress() as progress:
        tuning = tune(run, sources, references, checkpoint=checkpoint, progress=progress)
    if tuning is None:
        raise UserError(
            f"{run}: there is nothing to choose: {len(sources)} dev lines, which are to be at least {FEWEST_LINES}, or "
            "the recipe states all of these settings itself, or does not search for the best translation alone",
            fix="set decoding.precision, early_stopping and beam_margin in the recipe, or with --set",
        )
    if as_json:
        write_json(_as_json(tuning))
        return
    rows = (
        (str(one.settings), f"{one.bleu:.2f}", f"{one.sentences_per_second:,.0f}", _mark(one.settings, tuning))
        for one in tuning.measured
    )
    write_table(("settings", "BLEU", "sentences/s", "kept"), rows)
    write_data(f"\n{tuning.kept.num_lines:,} lines, {tuning.kept.checkpoint}\n")
    note(f"{run}: translates with {tuning.kept.settings}")


def _mark(settings: object, tuning: Tuning) -> str:
    return "yes" if settings == tuning.kept.settings else ""


def _as_json(tuning: Tuning) -> dict[str, Any]:
    measured = [one._asdict() | {"settings": one.settings.chosen()} for one in tuning.measured]
    return {"measured": measured, "kept": tuning.kept.model_dump(mode="json")}
