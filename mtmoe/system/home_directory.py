"""Home directories in paths, which not every process has (a service, a container without HOME)."""

from __future__ import annotations

from pathlib import Path

from mtmoe.errors import UserError


def expanded(path: str | Path) -> Path:
    """Return the path with ``~`` or ``~user`` at its beginning replaced by that home directory.

    Raises:
        UserError: nobody knows it.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        whose = Path(path).parts[0]
        raise UserError(
            f"{path}: {whose} is no home directory that is known here",
            fix="write the whole path, from / on" + (", or set HOME" if whose == "~" else ""),
        ) from None
