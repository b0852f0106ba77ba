"""Examination behind ``mtmoe doctor``: all checks, on one machine or on all that torchrun has started."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mtmoe.diagnosis import directory, hardware, software
from mtmoe.diagnosis.check import Check, run_check
from mtmoe.diagnosis.processes import Report, gather_reports, own_report
from mtmoe.errors import UserError
from mtmoe.system.torchrun import is_launched, place_of_process


class Examination(NamedTuple):
    """Results of all checks.

    reports: one for each machine. together: checks that take several processes; empty without torchrun. is_main:
    whether
    this process is the one that shows them.
    """

    reports: list[Report]
    together: list[Check]
    is_main: bool

    @property
    def is_healthy(self) -> bool:
        """Return whether no check is an error. Warnings do not count."""
        return not any(check.state == "error" for check in self.all_checks)

    @property
    def all_checks(self) -> list[Check]:
        """Return the checks of all machines, and then those that take several processes."""
        return [check for report in self.reports for check in report.checks] + self.together


def examine(run_dir: Path) -> Examination:
    """Check this machine and ``run_dir``, which need not exist. Never raises, whatever is missing.

    Under torchrun all processes must call it together.
    """
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
        """Gather the reports of all processes, and return the checks that take several."""
        nonlocal reports
        reports, checks = gather_reports(own, run_dir)
        return checks

    together = run_check("processes", all_together)
    alone = len(reports) == 1 and place_of_process().size > 1
    # One report for each machine: its processes see the same. A process that found nobody speaks for itself.
    return Examination([report for report in reports if report.local_rank == 0 or alone], together, is_main or alone)


def _of_this_machine(run_dir: Path) -> list[Check]:
    """Return the results of all checks of this machine."""
    looks: dict[str, Callable[[], Iterable[Check]]] = {
        "Python": software.python,
        "packages": software.packages,
        "import": software.importable,
        "text": software.text,
        "processor": hardware.processor,
        "compiled search": hardware.compiled_search,
        "threads": hardware.threads,
        "GPUs": hardware.gpus,
        "disk": partial(directory.free_space, run_dir),
        "writing": partial(directory.writing_speed, run_dir),
        "locks": partial(directory.locks, run_dir),
        "open files": directory.open_files,
    }
    checks: list[Check] = []
    for name, look in looks.items():
        if name in ("processor", "threads", "GPUs") and any(check.name == "import torch" for check in checks):
            continue  # said once
        checks += run_check(name, look)
    return checks
