"""``mtmoe doctor``: everything that is looked at, on one machine or on all that torchrun has started."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mtmoe.diagnosis import directory, hardware, software
from mtmoe.diagnosis.check import Check, looked_at
from mtmoe.diagnosis.processes import Report, gathered, own_report
from mtmoe.errors import UserError
from mtmoe.system.torchrun import is_launched, place_of_process


class Examination(NamedTuple):
    """reports: one for each machine. together: what takes several processes; none without torchrun. is_main: whether
    this process is the one that tells."""

    reports: list[Report]
    together: list[Check]
    is_main: bool

    @property
    def is_healthy(self) -> bool:
        """Warnings are no illness."""
        return not any(check.state == "error" for check in self.all_checks)

    @property
    def all_checks(self) -> list[Check]:
        return [check for report in self.reports for check in report.checks] + self.together


def examine(run_dir: Path) -> Examination:
    """Look at this machine and ``run_dir``, which need not exist; under torchrun, with all processes, which must call
    it together. Never raises, whatever is missing."""
    checks = _of_this_machine(run_dir)
    try:
        own = own_report(checks)
    except UserError as error:
        return Examination(
            [Report(socket.gethostname(), 0, 0, checks)], [Check("processes", "error", error.problem, error.fix)], True
        )
    if not is_launched():
        return Examination([own], [], True)
    is_main = own.rank == 0
    if any(check.name == "import torch" for check in own.checks):
        return Examination([own], [], is_main)
    reports, together = [own], []

    def all_together() -> list[Check]:
        nonlocal reports
        reports, checks = gathered(own, run_dir)
        return checks

    together = looked_at("processes", all_together)
    alone = len(reports) == 1 and place_of_process().size > 1
    # One report for each machine: its processes see the same. A process that found nobody speaks for itself.
    return Examination([report for report in reports if report.local_rank == 0 or alone], together, is_main or alone)


def _of_this_machine(run_dir: Path) -> list[Check]:
    looks: dict[str, Callable[[], Iterable[Check]]] = {
        "Python": software.python,
        "packages": software.packages,
        "import": software.importable,
        "text": software.text,
        "processor": hardware.processor,
        "threads": hardware.threads,
        "GPUs": hardware.gpus,
        "disk": partial(directory.room, run_dir),
        "writing": partial(directory.speed, run_dir),
        "locks": partial(directory.locks, run_dir),
        "open files": directory.open_files,
    }
    checks: list[Check] = []
    for name, look in looks.items():
        if name in ("processor", "threads", "GPUs") and any(check.name == "import torch" for check in checks):
            continue  # said once
        checks += looked_at(name, look)
    return checks
