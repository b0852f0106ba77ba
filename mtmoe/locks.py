"""Locks between processes, on file systems that have them and on those that have not."""

from __future__ import annotations

import errno
import warnings
from pathlib import Path

_HELD_BY_ANOTHER = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}


def try_lock(descriptor: int, path: Path) -> bool:
    """Lock an open file or directory for this process alone, until it is closed; False if another process has it.

    Where there are no locks (some network file systems, Windows) a warning says so, and the work goes on.

    Args:
        path: what is locked, for the warning.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD_BY_ANOTHER:
            return False
        warnings.warn(
            f"{path}: this file system has no locks ({error.strerror}): take care that no second process works here",
            stacklevel=2,
        )
    return True
