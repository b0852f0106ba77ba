"""A directory that is built out of sight, so that what stands in its place is finished, always."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mtmoe.errors import UserError


@contextmanager
def built_directory(place: Path) -> Iterator[Path]:
    """Yield an empty directory that becomes ``place`` when the block ends well, and vanishes when it does not.

    What a killed process left is cleared away; a process that is still at work is left alone.
    """
    temporary = place.with_name(f".{place.name}.part")
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        lock = os.open(temporary, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{temporary}: cannot be made: {error.strerror}", fix="name another directory") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{place}: another process is preparing it", fix="wait for it, or name another directory"
            ) from None
        _clear(temporary)
        try:
            with _full_disk_explained(place):
                yield temporary
                temporary.replace(place)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    finally:
        os.close(lock)


@contextmanager
def _full_disk_explained(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"{place}: cannot be written: {error.strerror}", fix="make room, or name a directory on another disk"
        ) from None


def _clear(directory: Path) -> None:
    for entry in directory.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def holds_something(directory: Path) -> bool:
    """Whether it is a directory that is not empty."""
    return directory.is_dir() and any(directory.iterdir())
