"""Directory that is built out of sight, so that what stands in its place is always finished."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from mtmoe.errors import UserError
from mtmoe.system import atomic_files
from mtmoe.system.atomic_files import hidden_beside, make_directory, sync
from mtmoe.system.locks import try_lock

_ENDING = "part"
_INSIDE = f".mtmoe.{_ENDING}"
_OF_THE_FILE_SYSTEM = {"lost+found"}


@contextlib.contextmanager
def built_directory(place: Path, *, last: str) -> Iterator[Path]:
    """Yield an empty directory whose content becomes that of ``place`` when the block ends well, and vanishes when it
    does not.

    Where nothing is at ``place`` (behind links, too), the directory is built beside it and renamed. An empty directory
    that is there already may be a mount point, or on another disk than what is around it: so it stays what it is, the
    work is done inside it, and the parts are moved up, ``last`` behind all others. (What was being moved when a
    process was killed is :func:`completed`.) What else a killed process left is cleared away; a process that is still
    at work is left alone.

    Args:
        last: the file without which the directory is not finished.

    Raises:
        UserError: the directory cannot be made or written, or another process is building it.
    """
    place = Path(os.path.realpath(place))
    exists = place.is_dir()
    temporary = place / _INSIDE if exists else hidden_beside(place, _ENDING)
    lock = _opened(temporary)
    try:
        if not try_lock(lock, temporary):
            raise UserError(f"{place}: another process is preparing it", fix="wait for it, or name another directory")
        if not _is_still(temporary, lock):
            raise UserError(f"{place}: another process has just prepared it", fix="run the same command again")
        with _failure_explained(place):
            _clear(temporary)
            try:
                yield temporary
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            if exists:
                _move_up(temporary, last)
            else:
                put_directory_in_place(temporary, place)
    finally:
        os.close(lock)


def put_directory_in_place(temporary: Path, place: Path) -> None:
    """Give a complete directory, whose content is on the disk, its final name, at which nothing or an empty one is.

    Raises:
        OSError: what the operating system says.
    """
    os.replace(temporary, place)
    sync(place.parent)


def remove_directory(directory: Path, doomed: Path) -> None:
    """Remove a directory that is never seen half removed: it is renamed to ``doomed`` first.

    Raises:
        OSError: what the operating system says.
    """
    shutil.rmtree(doomed, ignore_errors=True)
    os.replace(directory, doomed)
    shutil.rmtree(doomed)


def completed(place: Path, *, last: str) -> None:
    """Finish what a process that was killed at the very end of :func:`built_directory` was doing.

    Raises:
        UserError: it cannot be written.
    """
    temporary = Path(os.path.realpath(place)) / _INSIDE
    if not (temporary / last).is_file():
        with contextlib.suppress(OSError):  # there is none, or it is one that is to be built anew
            temporary.rmdir()
        return
    lock = _opened(temporary)
    try:
        if try_lock(lock, temporary) and _is_still(temporary, lock):
            with _failure_explained(place):
                _move_up(temporary, last)
    finally:
        os.close(lock)


def check_writable(place: Path) -> None:
    """See whether a directory could be built there, before hours of work.

    Raises:
        UserError: naming the directory that may not be written to.
    """
    directory = Path(os.path.realpath(place))
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    try:
        if not directory.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        atomic_files.check_writable(directory)
    except OSError as error:
        raise UserError(
            f"{place}: cannot be made: {directory}: {error.strerror}",
            fix="name another directory, or change its permissions",
        ) from None


def holds_something(directory: Path) -> bool:
    """Return whether it is a directory that is not empty.

    What the file system or an unfinished preparation has put there does not count.
    """
    return directory.is_dir() and any(path.name not in {_INSIDE, *_OF_THE_FILE_SYSTEM} for path in directory.iterdir())


def _opened(temporary: Path) -> int:
    """Make the directory if it is not there; never work in one that a link leads to."""
    try:
        make_directory(temporary.parent)
        if not os.path.lexists(temporary):
            temporary.mkdir(exist_ok=True)
        return os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise UserError(
            f"{temporary}: cannot be made: {error.strerror}", fix="name another directory, or change its permissions"
        ) from None


def _is_still(directory: Path, descriptor: int) -> bool:
    """Return whether an open directory still has its name; a process that had locked it may have finished meanwhile."""
    try:
        return os.path.samestat(directory.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _move_up(directory: Path, last: str) -> None:
    names = sorted(os.listdir(directory), key=lambda name: (name == last, name))
    for name in names:
        if name == last:
            sync(directory.parent)
        os.replace(directory / name, directory.parent / name)
    sync(directory.parent)
    directory.rmdir()


@contextlib.contextmanager
def _failure_explained(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise UserError(
            f"{place}: cannot be written: {error.strerror}", fix="make room, or name a directory on another disk"
        ) from None


def _clear(directory: Path) -> None:
    for entry in directory.iterdir():
        if stat.S_ISDIR(entry.lstat().st_mode):
            shutil.rmtree(entry)
        else:
            entry.unlink()
