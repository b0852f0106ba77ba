"""Files that are written whole or not at all: the one place that knows how, and what else a name can stand for.

What has its final name is complete. The new content is written beside its place into a file that this module makes
itself (never into one that it finds there), synced, and renamed.

- A link stays a link: what it points to is replaced.
- A file keeps its mode; a new one has that of any new file (the umask).
- A device or a named pipe is written to, never replaced.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
TEMPORARY_SUFFIX = ".unfinished"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file; its directory is made if need be.

    Raises:
        OSError: with the name of the file, whichever step fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with opened_atomically(path) as file:
        file.write(content)


@contextlib.contextmanager
def opened_atomically(path: Path) -> Iterator[BinaryIO]:
    """Yield a file for bytes that takes the place of ``path`` when the block ends well, and vanishes when it does not.

    Raises:
        OSError: with the name of the file, whichever step fails.
    """
    with replaced_atomically(path) as temporary, temporary.open("wb") as file:
        yield file


@contextlib.contextmanager
def replaced_atomically(path: Path) -> Iterator[Path]:
    """Yield the name of an empty new file, for libraries that write by name; the rest is as :func:`opened_atomically`.

    A library may replace the file by another of that name: it is looked up anew. Of a device or a named pipe the name
    is its own.
    """
    place = Path(os.path.realpath(path))
    if is_special(place):
        yield place
        return
    temporary = place.with_name(f".{place.name[:200]}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        os.close(os.open(temporary, _NEW_FILE, 0o666))
        mode = _mode_of(place, temporary)
        yield temporary
        os.chmod(temporary, mode)
        sync(temporary)
        os.replace(temporary, place)
    except OSError as error:
        if error.errno is None or (error.filename is not None and error.filename != str(temporary)):
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


def is_special(path: Path) -> bool:
    """Whether something is there that cannot be replaced, as it is no regular file: a device, a pipe, a socket."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _mode_of(place: Path, temporary: Path) -> int:
    """The mode of what is to be replaced, or else of a new file."""
    try:
        return stat.S_IMODE(place.stat().st_mode)
    except FileNotFoundError:
        return stat.S_IMODE(temporary.stat().st_mode)


def sync(path: Path) -> None:
    """Wait until a file or directory is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
