"""Files that are written whole or not at all: the one module that knows how, and what else a name can stand for.

What has its final name is complete. The new content is written to a file without a name, where the file system has
such files (a killed process leaves nothing then), else to one that is made for it beside its place; never into a file
that is found there. It is synced, and takes the place of what was there in one step.

- A link stays a link: what it points to is replaced.
- A file keeps its access and, where that is possible, its owner; a new one has those of any new file (the umask).
- A device, a named pipe or an open file (``/dev/stdout``, ``/proc/self/fd/3``) is written to, never replaced.
- What may not be written is not replaced either, though its directory would allow it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from mtmoe.system.locks import Lock, ask_for_lock

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
WITHOUT_NAME = getattr(os, "O_TMPFILE", 0)
_NO_FILES_WITHOUT_NAME = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS}
_NOT_REPLACEABLE = {errno.EBUSY, errno.EPERM, errno.EACCES}
_MOST_LINKS = 40  # as Linux
_MOST_NAME_BYTES = 200  # of 255, and some file systems have fewer
_ACCESS = 0o777  # not "set user id": whoever writes a file takes that away


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file; its directory is made if need be.

    Raises:
        OSError: with the name of the file, whichever step fails.
    """
    make_directory(path.parent)
    with opened_atomically(path) as file:
        file.write(content)


@contextlib.contextmanager
def opened_atomically(path: Path) -> Iterator[BinaryIO]:
    """Yield a file for bytes that takes the place of ``path`` when the block ends well, and vanishes when it does not.

    Raises:
        OSError: with the name of the file, whichever step fails; before the block for all that can be seen then.
    """
    if is_special(path):
        with _named_errors(path):
            # Appended: what stood in a file that a shell has opened (`>> log`) stays.
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        with _buffered(descriptor, path) as file:
            yield file
        return
    place = place_of(path)
    check_replaceable(place)
    _remove_leftovers(place)
    with _named_errors(path):
        descriptor, temporary = _new_file(place)
    try:
        with _buffered(descriptor, path) as file:
            yield file
            file.flush()
            with _named_errors(path):
                os.fsync(descriptor)
                if temporary is None:
                    temporary = _given_a_name(descriptor, place)
                put_in_place(temporary, place)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def put_in_place(temporary: Path, place: Path) -> None:
    """Let a complete and synced file take the place of another, of which it gets owner and access.

    Args:
        place: no link (see :func:`place_of`).

    Raises:
        OSError: what the operating system says.
    """
    with contextlib.suppress(FileNotFoundError):
        _take_access(temporary, place.stat())
    try:
        os.replace(temporary, place)
    except OSError as error:
        if error.errno not in _NOT_REPLACEABLE or not os.access(place, os.W_OK):
            raise
        # A single file that is mounted there (into a container, say), or one of another user in a directory such as
        # /tmp, can only be written to.
        with temporary.open("rb") as content, place.open("r+b") as file:
            shutil.copyfileobj(content, file)
            file.truncate()
            os.fsync(file.fileno())
        temporary.unlink()
    with contextlib.suppress(OSError):  # some network file systems cannot sync a directory
        sync(place.parent)


def link_atomically(link: Path, target: Path) -> None:
    """Let a symbolic link to a directory take the place of the one that is there, if any.

    Raises:
        OSError: what the operating system says.
    """
    temporary = link.with_name(f".{link.name}.unfinished")
    if temporary.is_symlink():  # of a command that was killed
        temporary.unlink()
    temporary.symlink_to(target, target_is_directory=True)
    os.replace(temporary, link)


def place_of(path: Path) -> Path:
    """Return where a file of that name is or would be, behind all links.

    Raises:
        OSError: the links go round in a circle.
    """
    for _ in range(_MOST_LINKS):
        if not path.is_symlink():
            return Path(os.path.realpath(path.parent)) / path.name
        path = path.parent / os.readlink(path)
    raise _error(errno.ELOOP, path)


def is_special(path: Path) -> bool:
    """Return whether something is there that is written to and not replaced: a device, pipe, socket or open file."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or _is_open_file(path)


def check_replaceable(place: Path) -> None:
    """Check that a file could be written there, before hours of work rather than after them.

    Args:
        place: no link.

    Raises:
        OSError: it is a directory, or no file, or may not be written; the directory that it is in is not there, or may
            not be written to.
    """
    os.stat(place.parent)
    if not place.parent.is_dir():
        raise _error(errno.ENOTDIR, place.parent)
    if place.is_dir():
        raise _error(errno.EISDIR, place)
    if place.exists() and not place.is_file():
        raise OSError(errno.EINVAL, "is no regular file", str(place))
    for path in (place.parent, place):
        if path.exists():
            check_writable(path)


def check_writable(path: Path) -> None:
    """Raise an OSError that says why a file or directory may not be written to, if that is so."""
    if not os.access(path, os.W_OK):
        read_only = os.statvfs(path).f_flag & os.ST_RDONLY
        raise _error(errno.EROFS if read_only else errno.EACCES, path)


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


def hidden_beside(place: Path, ending: str) -> Path:
    """Return the path of a hidden file beside another, whose name it has as far as there is room: ``.NAME.ENDING``."""
    name = os.fsencode(place.name)
    if len(name) + len(ending) + 2 > _MOST_NAME_BYTES:
        digest = hashlib.blake2b(name, digest_size=8).hexdigest()
        start = name[: _MOST_NAME_BYTES - len(ending) - len(digest) - 3].decode("utf-8", "ignore")
        return place.with_name(f".{start}-{digest}.{ending}")
    return place.with_name(f".{place.name}.{ending}")


def make_directory(directory: Path) -> None:
    """Make a directory and those above it, where they are not there; also behind a link that points nowhere yet.

    Raises:
        OSError: with the name of the directory.
    """
    os.makedirs(os.path.realpath(directory), exist_ok=True)


def sync(path: Path) -> None:
    """Wait until a file or directory is on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ------------------------------------------------------------------------------------------ temporary files


def _new_file(place: Path) -> tuple[int, Path | None]:
    """Return a descriptor of an empty file in the same directory, and its name if it has one.

    It is locked, where there are locks, for as long as it is open (see :func:`_remove_leftovers`).
    """
    descriptor, temporary = _unlocked_file(place)
    ask_for_lock(descriptor)
    return descriptor, temporary


def _unlocked_file(place: Path) -> tuple[int, Path | None]:
    if WITHOUT_NAME:
        try:
            return os.open(place.parent, WITHOUT_NAME | os.O_RDWR | os.O_CLOEXEC, 0o666), None
        except OSError as error:
            if error.errno not in _NO_FILES_WITHOUT_NAME:
                raise
    temporary = _new_name(place)
    return os.open(temporary, _NEW_FILE, 0o666), temporary


def _new_name(place: Path) -> Path:
    return hidden_beside(place, f"{secrets.token_hex(4)}.unfinished")


def _given_a_name(descriptor: int, place: Path) -> Path:
    """Name a file that has none. (A link cannot replace a file: that is done by the renaming behind it.)"""
    temporary = _new_name(place)
    directory = os.open(place.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # With a directory Python follows the link of /proc, without one it does not.
        os.link(f"/proc/self/fd/{descriptor}", temporary.name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:  # no /proc, or a file system that does not do it; a full disk is found again
        _copy(descriptor, temporary)
    finally:
        os.close(directory)
    return temporary


def _copy(descriptor: int, temporary: Path) -> None:
    named = os.open(temporary, _NEW_FILE, 0o666)
    try:
        with open(descriptor, "rb", closefd=False) as source, open(named, "wb") as copy:
            source.seek(0)
            shutil.copyfileobj(source, copy)
            copy.flush()
            os.fsync(named)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _remove_leftovers(place: Path) -> None:
    """Remove what killed processes have left of this file: under names that only this module gives, and not locked."""
    pattern = re.escape(hidden_beside(place, "########.unfinished").name).replace(re.escape("########"), "[0-9a-f]{8}")
    with contextlib.suppress(OSError):
        for name in os.listdir(place.parent):
            if re.fullmatch(pattern, name):
                _remove_unless_locked(place.with_name(name))


def _remove_unless_locked(leftover: Path) -> None:
    descriptor = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and ask_for_lock(descriptor) is Lock.OURS:
            leftover.unlink()
    finally:
        os.close(descriptor)


def _take_access(path: Path, of: os.stat_result) -> None:
    """Give a file the owner and the access of another, as far as this process may."""
    own = path.stat()
    access = of.st_mode & _ACCESS
    if (own.st_uid, own.st_gid) != (of.st_uid, of.st_gid):
        with contextlib.suppress(PermissionError):
            os.chown(path, of.st_uid, -1)
        try:
            os.chown(path, -1, of.st_gid)
        except PermissionError:  # what one group was allowed is not for another
            access &= ~0o070 | (access & 0o007) << 3
    if own.st_mode & _ACCESS != access:
        os.chmod(path, access)


# ----------------------------------------------------------------------------------------------------- names


def _is_open_file(path: Path) -> bool:
    """Return whether links lead to an open file of a process, under which name it would not be found again."""
    for _ in range(_MOST_LINKS):
        if not path.is_symlink():
            return False
        if re.fullmatch(r"/proc/[^/]+(/task/[^/]+)?/fd", os.path.realpath(path.parent)):
            return True
        path = path.parent / os.readlink(path)
    return False


@contextlib.contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Let errors name the file that the user knows, and not a temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise _error(error.errno, path) from None


class _NamedFile(io.FileIO):
    """A file of which errors have the name that the user knows."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "wb")
        self._path = path

    def write(self, content: Any) -> int:
        with _named_errors(self._path):
            return cast(int, super().write(content))


@contextlib.contextmanager
def _buffered(descriptor: int, path: Path) -> Iterator[BinaryIO]:
    raw = _NamedFile(descriptor, path)
    file = io.BufferedWriter(raw, 1 << 18)
    try:
        yield cast(BinaryIO, file)
        file.flush()
    finally:
        raw.close()  # what waits in the buffer after an error is not tried again: that would hide the error
