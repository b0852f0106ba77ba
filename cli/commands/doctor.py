"""``mtmoe doctor``: a check of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..console import note, write_json, write_table
from ..options import DIRECTORY, json_option

if TYPE_CHECKING:
    from mtmoe.diagnosis.examination import Examination


@click.command()
@click.argument("run_dir", metavar="[RUN_DIR]", type=DIRECTORY, default=".")
@json_option
@click.pass_context
def doctor(context: click.Context, run_dir: Path, as_json: bool) -> None:
    """Check this machine, or all that torchrun has started.

    Python, packages, torch, CUDA, NCCL, GPUs, processor, threads, locale; room and speed of RUN_DIR (by default the
    working directory), open files. Under `torchrun ... -m mtmoe doctor RUN_DIR` every node is looked at, and whether
    the processes find each other, share RUN_DIR, have the same software and the same time; the main process tells.
    Exit status 1 if anything is wrong; what could be better is a warning.
    """
    from mtmoe.diagnosis.examination import examine

    examination = examine(run_dir)
    if examination.is_main:
        _tell(examination, as_json)
    if not examination.is_healthy:
        context.exit(1)


def _tell(examination: Examination, as_json: bool) -> None:
    if as_json:
        reports = [
            report._asdict() | {"checks": [check._asdict() for check in report.checks]}
            for report in examination.reports
        ]
        together = [check._asdict() for check in examination.together]
        write_json({"is_healthy": examination.is_healthy, "reports": reports, "together": together})
        return
    write_table(("machine", "checked", "state", "found"), _rows(examination))
    for report in examination.reports:
        for check in report.checks:
            if check.state != "ok":
                note(f"{check.state}: {report.host}: {check.name}: {check.found}\n{check.advice}")
    for check in examination.together:
        if check.state != "ok":
            note(f"{check.state}: {check.name}: {check.found}\n{check.advice}")


def _rows(examination: Examination) -> Iterator[tuple[str, str, str, str]]:
    for report in examination.reports:
        for check in report.checks:
            yield report.host, check.name, check.state, check.found
    for check in examination.together:
        yield "all", check.name, check.state, check.found
