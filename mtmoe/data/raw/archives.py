"""One file out of a .zip, .whl or .tar archive, in bounded memory, and of no more bytes than the archive declares."""

from __future__ import annotations

import difflib
import errno
import gzip
import hashlib
import lzma
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import zstandard

from mtmoe.data.raw.lines import open_decompressed
from mtmoe.data.raw.tar_members import tar_members
from mtmoe.errors import UserError
from mtmoe.system.atomic_files import opened_atomically

_READ_BYTES = 1 << 20
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    EOFError,
    gzip.BadGzipFile,
    NotImplementedError,  # an unknown compression method in a zip
    RuntimeError,  # an encrypted zip
    struct.error,  # sizes and places in a zip that make no sense
    ValueError,
    OverflowError,
)
_MOST_NAMES_REMEMBERED = 1000


def extract_member(archive: Path, member: str, path: Path, *, sha256: str = "") -> str:
    """Write a member of an archive to ``path``, atomically, and return its SHA-256.

    Nothing but ``path`` is written, so names such as ``../../x`` in the archive do no harm.

    Raises:
        UserError: no such member (the nearest name is given), a damaged archive, or another
            checksum than ``sha256``.
    """
    digest = hashlib.sha256()
    try:
        with _open_member(archive, member) as (stream, size):
            _check_room(archive, member, size, path.parent)
            with opened_atomically(path) as file:
                while block := stream.read(_READ_BYTES):
                    digest.update(block)
                    file.write(block)
                if sha256 and digest.hexdigest() != sha256:
                    raise UserError(
                        f"{archive}: member {member}: SHA-256 is {digest.hexdigest()}, but the recipe pins {sha256}",
                        fix="correct member_sha256, or name the archive that the recipe means",
                    )
    except _DAMAGED as error:
        raise UserError(
            f"{archive}: cannot be unpacked: {error}", fix="the archive is damaged: fetch it again"
        ) from None
    except OSError as error:  # trouble with the disk must not look like a damaged archive
        if error.filename != str(path):
            raise
        raise UserError(
            f"{path}: cannot be written: {error.strerror}",
            fix="free some space, or set MTMOE_CACHE to a directory on another disk",
        ) from None
    return digest.hexdigest()


def _check_room(archive: Path, member: str, size: int, directory: Path) -> None:
    """Raise UserError where the member cannot fit, before the disk is full."""
    free = shutil.disk_usage(directory).free
    if size > free:
        raise UserError(
            f"{archive}: member {member} has {size:,} bytes, but {directory} has room for {free:,}",
            fix="free some space, or set MTMOE_CACHE to a directory on another disk",
        )


class _Readable(Protocol):
    def read(self, num_bytes: int, /) -> bytes:
        """Read the next bytes, at most so many; empty at the end."""


@contextmanager
def _open_member(archive: Path, member: str) -> Iterator[tuple[_Readable, int]]:
    """Yield what can be read, and how many bytes it is declared to have."""
    if zipfile.is_zipfile(archive) and ".tar" not in archive.suffixes and archive.suffix != ".tgz":
        with zipfile.ZipFile(archive) as unzipped:
            if member not in unzipped.namelist() or member.endswith("/"):
                raise _no_such_member(archive, member, unzipped.namelist())
            try:
                with unzipped.open(member) as stream:
                    yield stream, unzipped.getinfo(member).file_size
            except OSError as error:
                if error.filename is None and error.errno == errno.EINVAL:  # a place before the file's beginning
                    raise zipfile.BadZipFile("it points to what is not in it") from None
                raise
        return
    with _open_tar(archive) as tar:
        names: list[str] = []
        for entry in tar_members(tar):
            if entry.name.removeprefix("./") == member.removeprefix("./") and entry.is_file:
                if entry.is_sparse:
                    raise UserError(
                        f"{archive}: member {member} is stored as a sparse file, which is not read",
                        fix="pack it again without the option --sparse of tar",
                    )
                yield entry, entry.size
                return
            if len(names) < _MOST_NAMES_REMEMBERED or entry.name.endswith(f"/{member.rpartition('/')[2]}"):
                names.append(entry.name)
                del names[2 * _MOST_NAMES_REMEMBERED :]
        raise _no_such_member(archive, member, names)


@contextmanager
def _open_tar(archive: Path) -> Iterator[BinaryIO]:
    """Open a stream that is read once, front to back: no index of a huge archive is built before the first byte."""
    if archive.suffix == ".tgz":
        with gzip.open(archive) as stream:
            yield cast(BinaryIO, stream)
        return
    with open_decompressed(archive) as stream:
        yield stream


def _no_such_member(archive: Path, member: str, names: list[str]) -> UserError:
    base_name = member.rsplit("/", 1)[-1]
    nearest = [name for name in names if name.rsplit("/", 1)[-1] == base_name]
    nearest = nearest or difflib.get_close_matches(member, names, n=1)
    fix = f"did you mean {nearest[0]}?" if nearest else f"the archive holds {', '.join(names[:10]) or 'nothing'}"
    return UserError(f"{archive}: has no member {member!r}", fix=fix)
