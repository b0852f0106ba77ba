"""``mtmoe calibrate``: how confident translations of a run are, fitted to its dev set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...bleu_texts import TestText, recipe_tests
from ...console import note, shown_progress, write_data, write_json, write_table
from ...lines import read_aligned
from ...options import DIRECTORY, FILE, RealRange, checkpoint_option, device_option, json_option, run_argument

if TYPE_CHECKING:
    from mtmoe.inference.scoring.calibration import Reliability
    from mtmoe.inference.scoring.confidence import Confidence
    from mtmoe.inference.translation import Translation
    from mtmoe.inference.translator import Translator


@click.command()
@run_argument
@click.option(
    "--chrf",
    "chrf_threshold",
    type=RealRange(1, 99),
    default=50.0,
    show_default=True,
    help="A translation is good from this sentence chrF2 against its reference on, 0 to 100.",
)
@click.option("--source", "source_path", type=FILE, help="Fit to this text, not to the run's dev set.")
@click.option("--reference", "reference_path", type=FILE, help="Its translation.")
@click.option("--data", "data_dir", type=DIRECTORY, help="DATA_DIR with dev and test sets.  [default: the run's]")
@checkpoint_option
@device_option
@json_option
def calibrate(
    run: Path,
    chrf_threshold: float,
    source_path: Path | None,
    reference_path: Path | None,
    data_dir: Path | None,
    checkpoint: str,
    device: str | None,
    as_json: bool,
) -> None:
    """Let translations of a run tell how confident they are.

    The dev set is translated, and a logistic function is fitted that tells from a translation's log-probabilities and
    lengths how likely it is good. RUN/confidence.json keeps it, and from then on `mtmoe translate RUN --format json`
    has a "confidence", 0 to 1, of each line. It is of this checkpoint and the run's own decoding settings; after
    further training, calibrate again.

    What is told is measured on the test sets, which it was not fitted to: of the translations with a confidence in
    each tenth of the range, the mean confidence, and the share that is good. The expected calibration error is how
    far these are apart, on average over lines.
    """
    if (source_path is None) != (reference_path is None):
        raise click.UsageError("--source and --reference are given together")
    if ":" in checkpoint:
        raise click.UsageError(f"--checkpoint {checkpoint} is the mean of several; calibrate one of them")
    from mtmoe.checkpoint import open_run
    from mtmoe.checkpoint.run_data import run_data
    from mtmoe.data.prepared.data_directory import open_prepared
    from mtmoe.inference.scoring.calibration import calibrated, reliability_of
    from mtmoe.inference.scoring.confidence import save_confidence
    from mtmoe.inference.translator import Translator
    from mtmoe.system.process_settings import prepare_for_translation

    place = data_dir or run_data(run)
    tests = list(recipe_tests(place, ()))
    if source_path is not None and reference_path is not None:
        sources, references = read_aligned(source_path, reference_path)
    else:
        prepared = open_prepared(place)
        sources, references = list(prepared.valid_source), list(prepared.valid_target)
    prepare_for_translation()
    translator = Translator(run, device=device, checkpoint=checkpoint)
    confidence = calibrated(
        sources,
        _translated(translator, sources),
        references,
        chrf_threshold=chrf_threshold,
        checkpoint=translator.loaded.checkpoint.name,
    )
    save_confidence(open_run(run), confidence)
    note(f"{open_run(run).confidence}: fitted to {confidence.num_lines:,} lines of {confidence.checkpoint}")
    found = {
        test.name: reliability_of(confidence, test.source, _translated(translator, test.source), test.references[0])
        for test in tests
    }
    if as_json:
        write_json(_as_json(confidence, found))
    else:
        for test in tests:
            _show(test, found[test.name], confidence)


def _translated(translator: Translator, lines: Sequence[str]) -> list[Translation]:
    with shown_progress() as progress:
        return translator.translate(lines, progress=progress)


def _as_json(confidence: Confidence, found: dict[str, Reliability]) -> dict[str, Any]:
    tests = {
        name: reliability._asdict() | {"rows": [row._asdict() for row in reliability.rows]}
        for name, reliability in found.items()
    }
    return {"confidence": confidence.model_dump(mode="json"), "tests": tests}


def _show(test: TestText, reliability: Reliability, confidence: Confidence) -> None:
    write_data(f"{test.name}: {reliability.num_lines:,} lines, {reliability.share_good:.1%} good ")
    write_data(f"(chrF {confidence.chrf_threshold:g} or more)\n\n")
    rows = (
        (f"{row.lowest:.1f}", f"{row.num_lines:,}", f"{row.mean_confidence:.3f}", f"{row.share_good:.3f}")
        for row in reliability.rows
    )
    write_table(("confidence from", "lines", "mean confidence", "share good"), rows)
    error = f"expected calibration error {reliability.expected_calibration_error:.3f}"
    ranks = "" if reliability.auc is None else f"; a good one above a bad one in {reliability.auc:.1%} of pairs"
    write_data(f"\n{error}{ranks}\n")
