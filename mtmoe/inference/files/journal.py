"""Journal of an output that is written bit by bit: one JSON object a line, each on the disk before the next."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from mtmoe.errors import UserError


class LineFaults(NamedTuple):
    """What a person should know of the lines of a job.

    num_unreadable: lines of the input that could not be read. first_problem: what was wrong with the first of them.
    suspicious: kinds of suspicion (`text/suspicion.py`), and how many translations are of each.
    """

    num_unreadable: int = 0
    first_problem: str = ""
    suspicious: tuple[tuple[str, int], ...] = ()

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> LineFaults:
        """Return what a line of the journal tells of."""
        suspicious = tuple(sorted(entry.get("suspicious", {}).items()))
        return cls(entry.get("unreadable", 0), entry.get("first_problem", ""), suspicious)

    def as_entry(self) -> dict[str, Any]:
        """Return the keys of the journal; the inverse of :meth:`from_entry`."""
        unreadable = {"unreadable": self.num_unreadable, "first_problem": self.first_problem}
        suspicious = {"suspicious": dict(self.suspicious)} if self.suspicious else {}
        return {**(unreadable if self.num_unreadable else {}), **suspicious}

    def plus(self, other: LineFaults) -> LineFaults:
        """Return the sum of these and of others, which are of later lines."""
        suspicious = Counter(dict(self.suspicious)) + Counter(dict(other.suspicious))
        return LineFaults(
            self.num_unreadable + other.num_unreadable,
            self.first_problem or other.first_problem,
            tuple(sorted(suspicious.items())),
        )


NO_FAULTS = LineFaults()


def sync_file(file: IO[Any]) -> None:
    """Wait until what was written to an open file is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def append_entry(journal: IO[bytes], entry: Mapping[str, Any]) -> None:
    """Write an entry; when this returns it is on the disk."""
    journal.write(json.dumps(entry).encode() + b"\n")
    sync_file(journal)


def read_entries(journal: bytes, path: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries that are whole: a line may have been cut off with the power.

    Raises:
        UserError: a line is whole and yet none of ours.
    """
    if not journal:
        return
    from mtmoe.inference.files.journal_records import JournalEntry
    from mtmoe.system.json_files import parse_json

    for line in journal.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            entry = json.loads(line)
            parse_json(line, path, JournalEntry, fix="leave out --resume to translate anew")
            yield entry


@contextlib.contextmanager
def opened_own_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file of mtmoe's for reading and writing; it is made if it is not there.

    Raises:
        UserError: a link, a device or the like has its name, or the file has another name as well.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise
        raise foreign_file_error(path) from None
    with open(descriptor, "r+b", closefd=True) as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1:
            raise foreign_file_error(path)
        yield file


def foreign_file_error(path: Path) -> UserError:
    """Return the error that says that a file of this name is in the way."""
    return UserError(
        f"{path}: is no file of mtmoe's, and a translation needs this name while it is not complete",
        fix="move it away, or write to another file",
    )
