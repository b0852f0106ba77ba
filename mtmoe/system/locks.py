"""Locks between processes, on file systems that have them and on those that have not."""

from __future__ import annotations

import enum
import errno
import os
import warnings
from pathlib import Path

from mtmoe.errors import Warned

_HELD_BY_ANOTHER = {errno.EWOULDBLOCK, errno.EAGAIN}
told_of: set[int] = set()


class Lock(enum.Enum):
    """What came of asking for a lock."""

    OURS, OF_ANOTHER, THERE_ARE_NONE = range(3)


def ask_for_lock(descriptor: int, *, wait: bool = False) -> Lock:
    """Lock an open file or directory for this process alone, until it is closed, without any warning.

    Args:
        wait: until another process that has it lets it go.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return Lock.THERE_ARE_NONE
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return Lock.OF_ANOTHER if error.errno in _HELD_BY_ANOTHER else Lock.THERE_ARE_NONE
    return Lock.OURS


def try_lock(descriptor: int, path: Path) -> bool:
    """Lock an open file or directory for this process alone, until it is closed; False if another process has it.

    Where there are no locks (some network file systems, Windows) a warning says so, once for each file system, and the
    work goes on.

    Args:
        path: what is locked, for the warning.
    """
    found = ask_for_lock(descriptor)
    _tell_of_none(found, descriptor, path)
    return found is not Lock.OF_ANOTHER


def wait_for_lock(descriptor: int, path: Path) -> None:
    """Lock as :func:`try_lock`, once another process that has the lock lets it go."""
    _tell_of_none(ask_for_lock(descriptor, wait=True), descriptor, path)


def _tell_of_none(found: Lock, descriptor: int, path: Path) -> None:
    file_system = os.fstat(descriptor).st_dev
    if found is Lock.THERE_ARE_NONE and file_system not in told_of:
        told_of.add(file_system)
        warnings.warn(
            f"{path}: this file system has no locks: take care that no second process works here",
            Warned,
            stacklevel=3,
        )
