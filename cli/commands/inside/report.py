"""``mtmoe report``: a page about runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtmoe import __version__
from mtmoe.errors import UserError

from ...console import note, number_of_bytes, shown_progress, warn
from ...options import FILE, device_option

if TYPE_CHECKING:
    from mtmoe.progress import Progress
    from mtmoe.report.run_history import RunHistory
    from mtmoe.report.run_section import Examination

_MOST_SENTENCES = 10_000


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output", type=FILE, default=Path("report.html"), show_default=True, help="Where to write the page (HTML)."
)
@click.option(
    "--sentences",
    type=click.IntRange(0, _MOST_SENTENCES),
    default=200,
    show_default=True,
    help="Dev sentences that each model translates, and by which its experts are looked at; 0: of the logs alone.",
)
@click.option("--checkpoint", default="best", show_default=True, metavar="NAME", help="Checkpoint that translates.")
@device_option
def report(runs: tuple[Path, ...], output: Path, sentences: int, checkpoint: str, device: str | None) -> None:
    """Write a page about one run, or several side by side.

    It shows what the runs are and how they differ, the curves of their trainings, how evenly their experts are used
    and what each is given, and how well they translate sentences of their dev sets. The page is one file; it needs no
    network.
    """
    from mtmoe.report.page import report_page
    from mtmoe.report.run_history import read_histories
    from mtmoe.system.atomic_files import write_atomically

    if not output.absolute().parent.is_dir():
        raise UserError(f"{output}: there is no directory {output.parent}", fix="make it first, or name another place")
    histories = read_histories(runs)
    examinations = {}
    with shown_progress() as progress:
        for history in histories if sentences else ():
            examination = _examined(history, sentences, checkpoint, device, progress)
            if examination is not None:
                examinations[history.label] = examination
    page = report_page(histories, examinations, __version__).encode()
    write_atomically(output, page)
    note(f"{output}: {number_of_bytes(len(page))}")


def _examined(
    history: RunHistory, num_sentences: int, checkpoint: str, device: str | None, progress: Progress
) -> Examination | None:
    from mtmoe.report.examining.examination import examine

    try:
        return examine(history, num_sentences, checkpoint, device, progress)
    except UserError as error:  # what the log tells is worth a page of its own
        warn(f"{history.label}: its model is left out: {error.problem}")
        return None
