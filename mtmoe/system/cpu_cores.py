"""CPU cores that this process may use, which are not always all that the machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")


def num_cores() -> int:
    """Return how many cores the process may run on (taskset, Slurm), or its container's share if that is less.

    A container with two cores of sixty-four sees all of them, and threads for all of them then wait for each other.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([allowed, *(max(1, math.ceil(share)) for share in _shares())])


def fair_threads(num_threads: int, num_processes: int) -> int | None:
    """Return how many threads each process of this machine should have in place of ``num_threads``.

    None if there are cores for all of them.
    """
    cores = num_cores()
    return max(1, cores // num_processes) if num_threads * num_processes > cores else None


def _shares() -> list[float]:
    """Return the cores' worth of time that each control group around the process is given, of those with a limit."""
    shares = []
    for directory in _own_groups():
        try:
            quota, period = (directory / "cpu.max").read_text().split()
            shares.append(int(quota) / int(period))
        except (OSError, ValueError):  # no such file, or "max": no limit
            continue
    try:  # version 1 of control groups
        quota_us, period_us = (
            int((CONTROL_GROUPS / "cpu" / f"cpu.cfs_{what}_us").read_text()) for what in ("quota", "period")
        )
        if quota_us > 0:
            shares.append(quota_us / period_us)
    except (OSError, ValueError):
        pass
    return shares


def _own_groups() -> list[Path]:
    """Return the control group of the process and those around it."""
    own = CONTROL_GROUPS / own_group_name().lstrip("/")
    return [own, *(parent for parent in own.parents if parent == CONTROL_GROUPS or CONTROL_GROUPS in parent.parents)]


def own_group_name() -> str:
    """Return the control group of this process, as /proc names it."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return "/"
    return next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")
