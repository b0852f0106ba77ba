"""One file out of a .zip, .whl or .tar archive."""

from __future__ import annotations

import difflib
import gzip
import hashlib
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from mtmoe.data.lines import open_decompressed
from mtmoe.errors import UserError

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
)


def extract_member(archive: Path, member: str, path: Path, *, sha256: str = "") -> str:
    """Write a member of an archive to ``path``, atomically, and return its SHA-256.

    Nothing but ``path`` is written, so names such as ``../../x`` in the archive do no harm.

    Raises:
        UserError: no such member (the nearest name is given), a damaged archive, or another
            checksum than ``sha256``.
    """
    temporary = path.with_name(path.name + ".tmp")
    digest = hashlib.sha256()
    try:
        with _open_member(archive, member) as stream, temporary.open("wb", buffering=0) as file:
            while block := stream.read(_READ_BYTES):
                digest.update(block)
                _write(file, block)
            os.fsync(file.fileno())
        if sha256 and digest.hexdigest() != sha256:
            raise UserError(
                f"{archive}: member {member}: SHA-256 is {digest.hexdigest()}, but the recipe pins {sha256}",
                fix="correct member_sha256, or name the archive that the recipe means",
            )
        os.replace(temporary, path)
    except _DAMAGED as error:
        raise UserError(
            f"{archive}: cannot be unpacked: {error}", fix="the archive is damaged: fetch it again"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
    return digest.hexdigest()


def _write(file: FileIO, block: bytes) -> None:
    """Write all of it; trouble with the disk must not look like a damaged archive."""
    rest = memoryview(block)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise UserError(
            f"{file.name}: cannot be written: {error.strerror}",
            fix="free some space, or set MTMOE_CACHE to a directory on another disk",
        ) from None


@contextmanager
def _open_member(archive: Path, member: str) -> Iterator[BinaryIO]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as unzipped:
            if member not in unzipped.namelist() or member.endswith("/"):
                raise _no_such_member(archive, member, unzipped.namelist())
            with unzipped.open(member) as stream:
                yield cast(BinaryIO, stream)
        return
    with _open_tar(archive) as tar:
        names: list[str] = []
        for entry in tar:
            if entry.name.removeprefix("./") == member.removeprefix("./") and entry.isfile():
                stream_in_tar = tar.extractfile(entry)
                if stream_in_tar is not None:
                    yield cast(BinaryIO, stream_in_tar)
                    return
            names.append(entry.name)
        raise _no_such_member(archive, member, names)


@contextmanager
def _open_tar(archive: Path) -> Iterator[tarfile.TarFile]:
    if archive.suffix == ".tgz":
        with tarfile.open(archive, mode="r|gz") as tar:
            yield tar
        return
    with open_decompressed(archive) as stream:
        # A stream is read once, front to back: no index of a huge archive is built before the first byte.
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            yield tar


def _no_such_member(archive: Path, member: str, names: list[str]) -> UserError:
    base_name = member.rsplit("/", 1)[-1]
    nearest = [name for name in names if name.rsplit("/", 1)[-1] == base_name]
    nearest = nearest or difflib.get_close_matches(member, names, n=1)
    fix = f"did you mean {nearest[0]}?" if nearest else f"the archive holds {', '.join(names[:10]) or 'nothing'}"
    return UserError(f"{archive}: has no member {member!r}", fix=fix)
