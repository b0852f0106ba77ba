"""Files of ours read whole, and the true reason where one cannot be read."""

from __future__ import annotations

from pathlib import Path

from mtmoe.errors import UserError


def read_bytes(path: Path) -> bytes:
    """Return the content of a regular file.

    Raises:
        UserError: it cannot be read, with the reason of the operating system and what helps against that; what has the
            name is no regular file (a named pipe would never end).
    """
    _check_is_no_other_thing(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None


def check_readable(path: Path) -> Path:
    """Return the path of a regular file that may be read: for libraries that open files by name, do not tell the reason
    of the operating system, and would wait at a named pipe for ever.

    Raises:
        UserError: as :func:`read_bytes`.
    """
    _check_is_no_other_thing(path)
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise unreadable(path, error) from None


def _check_is_no_other_thing(path: Path) -> None:
    try:
        is_other = path.exists() and not path.is_file()
    except OSError as error:
        raise unreadable(path, error) from None
    if is_other:
        raise UserError(
            f"{path}: is a {'directory' if path.is_dir() else 'pipe or device'}, not a file",
            fix="restore it from a backup",
        )


def unreadable(path: Path, error: OSError) -> UserError:
    """Return what a user is told of a file that the operating system does not give.

    A right that is missing is no damage, and nobody is advised to delete what is sound.
    """
    if isinstance(error, PermissionError):
        return UserError(f"{path}: cannot be read: {error.strerror}", fix="change its permissions, or be another user")
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: cannot be read: {error.strerror}", fix="check the path, or restore it from a backup")
    return UserError(
        f"{path}: cannot be read: {error.strerror or error}", fix="check the disk and the path; nothing was changed"
    )
