"""Checks of the run directory: free space, speed, locks, and how many files a process may open."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mtmoe.diagnosis.check import Check
from mtmoe.system.locks import Lock, ask_for_lock

_LEAST_FREE, _LITTLE_FREE = 1 << 30, 20 << 30
SLOW_BYTES_PER_SECOND = 50e6
WRITTEN_BYTES = 1 << 26
_FEW_FILES = 1024


def nearest_existing(directory: Path) -> Path:
    """Return the directory if it exists, else its nearest parent that does."""
    directory = directory.absolute()
    while not directory.exists():
        directory = directory.parent
    return directory


def free_space(directory: Path) -> Iterator[Check]:
    """Yield whether there is room for checkpoints."""
    place = nearest_existing(directory)
    if not place.is_dir():
        yield Check("disk", "error", f"{place} is a file", "give another directory for runs")
        return
    free = shutil.disk_usage(place).free
    found = f"{free / 1e9:.1f} GB free at {place}"
    if free < _LEAST_FREE:
        yield Check("disk", "error", found, "make room, or give another directory for runs")
    elif free < _LITTLE_FREE:
        yield Check(
            "disk", "warning", found,
            "a checkpoint takes up to 16 bytes a parameter, and there are training.keep_last + keep_best + 1 of them",
        )  # fmt: skip
    else:
        yield Check("disk", "ok", found)


def writing_speed(directory: Path) -> Iterator[Check]:
    """Yield how fast 64 MiB are written and synced, as checkpoints are."""
    place = nearest_existing(directory)
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".mtmoe-doctor-") as file:
            block = os.urandom(1 << 20)
            began = time.monotonic()
            for _ in range(WRITTEN_BYTES >> 20):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            rate = WRITTEN_BYTES / max(time.monotonic() - began, 1e-9)
    except OSError as problem:
        yield Check("writing", "error", f"{place}: {problem.strerror}", "give a directory that you may write to")
        return
    found = f"{rate / 1e6:,.0f} MB/s at {place}"
    if rate < SLOW_BYTES_PER_SECOND:
        yield Check(
            "writing", "warning", found, "saves will take long: raise training.save_every_steps, or a faster disk"
        )
    else:
        yield Check("writing", "ok", found)


def locks(directory: Path) -> Iterator[Check]:
    """Yield whether two processes that write to the same run, or output, would know of each other."""
    place = nearest_existing(directory)
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".mtmoe-doctor-") as file:
            found = ask_for_lock(file.fileno())
    except OSError:  # which `writing_speed` has told of
        return
    if found is Lock.THERE_ARE_NONE:
        yield Check(
            "locks", "warning", f"none at {place}",
            "take care that no second process trains the same run, or writes the same output, there",
        )  # fmt: skip
    else:
        yield Check("locks", "ok", f"at {place}")


def open_files() -> Iterator[Check]:
    """Yield whether a process may open enough files."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft:,} at once, at most {hard:,}"
    if soft < _FEW_FILES:
        yield Check("open files", "warning", found, f"ulimit -n {min(4096, hard) if hard > 0 else 4096}")
    else:
        yield Check("open files", "ok", found)
