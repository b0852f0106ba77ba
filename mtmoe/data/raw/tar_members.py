"""Members of a tar archive (ustar, pax, GNU), front to back in bounded memory.

Python's own reader keeps every entry, and whatever the lengths of extended headers and sparse maps ask for, in memory:
a megabyte of compressed headers becomes a gigabyte.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from typing import BinaryIO

_BLOCK_BYTES = 512
_LONGEST_HEADER_BYTES = 1 << 16
"""Of names and other text in extended headers; a path has 4,096 at most."""
_SKIP_BYTES = 1 << 16
_FILES = (b"0", b"\0", b"7")
_WITHOUT_DATA = (b"1", b"2", b"3", b"4", b"5", b"6")
_SPARSE = b"S"


class TarMember:
    """An entry; its content can be read until the next one is asked for."""

    def __init__(self, stream: BinaryIO, name: str, size: int, *, is_file: bool, is_sparse: bool) -> None:
        self.name = name
        self.size = size
        """Bytes of content, as the archive declares them."""
        self.is_file = is_file
        self.is_sparse = is_sparse
        """Whether the content is not as it stands there: what is left of a file without its long stretches of zeros."""
        self._stream = stream
        self._left = size

    def read(self, num_bytes: int) -> bytes:
        """Read the next bytes, at most so many; empty at the end of the content.

        Raises:
            tarfile.ReadError: the archive ends before.
        """
        wanted = min(num_bytes, self._left)
        block = self._stream.read(wanted) if wanted else b""
        if wanted and not block:
            raise tarfile.ReadError("the archive ends in the middle of a member")
        self._left -= len(block)
        return block

    def skip_rest(self) -> None:
        """Pass over what is left, and what fills the last block."""
        while self.read(_SKIP_BYTES):
            pass
        _exactly(self._stream, -self.size % _BLOCK_BYTES)


def tar_members(stream: BinaryIO) -> Iterator[TarMember]:
    """Yield the entries of an archive, in order.

    Raises:
        tarfile.ReadError: it is no tar archive, damaged, or cut off.
    """
    of_all: dict[str, str] = {}
    of_next: dict[str, str] = {}
    is_first = True
    while header := stream.read(_BLOCK_BYTES):
        header += _exactly(stream, _BLOCK_BYTES - len(header))
        if not any(header):
            break
        _check(header, is_first)
        is_first = False
        kind, size = header[156:157], _number(header[124:136])
        if kind in (b"x", b"X", b"g"):
            (of_all if kind == b"g" else of_next).update(_pax_records(_long_header(stream, size)))
        elif kind == b"L":
            of_next["path"] = _text(_long_header(stream, size))
        else:
            member = _member(stream, header, kind, size, {**of_all, **of_next})
            if kind != b"K":  # the long target of a link
                of_next = {}
                yield member
            member.skip_rest()
    if is_first:
        raise tarfile.ReadError("not a tar archive, or an empty one")


def _member(stream: BinaryIO, header: bytes, kind: bytes, size: int, extended: Mapping[str, str]) -> TarMember:
    name = _text(header[:100])
    if header[257:263] == b"ustar\0" and header[345]:
        name = f"{_text(header[345:500])}/{name}"
    name = extended.get("GNU.sparse.name") or extended.get("path") or name
    is_directory = kind == b"\0" and name.endswith("/")
    if kind in _WITHOUT_DATA or is_directory:
        size = 0
    elif "size" in extended:
        size = _decimal(extended["size"])
    if kind == _SPARSE:
        more = header[482]
        while more:  # blocks of the map
            more = _exactly(stream, _BLOCK_BYTES)[504]
    is_sparse = kind == _SPARSE or any(key.startswith("GNU.sparse.") for key in extended)
    is_file = (kind in _FILES or kind == _SPARSE) and not is_directory
    return TarMember(stream, name, size, is_file=is_file, is_sparse=is_sparse)


def _check(header: bytes, is_first: bool) -> None:
    stated = _number(header[148:156])
    rest = header[:148] + b" " * 8 + header[156:]
    # Some very old programs add signed bytes.
    if stated != sum(rest) and stated != sum(byte - 256 if byte > 127 else byte for byte in rest):
        raise tarfile.ReadError("not a tar archive" if is_first else "the header of a member is damaged")


def _number(field: bytes) -> int:
    """Parse octal digits, or a binary number where the first bit is set."""
    if field[0] & 0x80:
        if field[0] != 0x80:
            raise tarfile.ReadError("a header has a negative number")
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip()
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        raise tarfile.ReadError("a header has a number that is none") from None


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise tarfile.ReadError(f"a header has the size {text[:40]!r}")
    return int(text)


def _long_header(stream: BinaryIO, size: int) -> bytes:
    if size > _LONGEST_HEADER_BYTES:
        raise tarfile.ReadError(f"an extended header has {size:,} bytes")
    return _exactly(stream, size + -size % _BLOCK_BYTES)[:size]


def _pax_records(content: bytes) -> Iterator[tuple[str, str]]:
    """Parse records ``LENGTH KEY=VALUE\n``, in which the length counts all of it."""
    while content.strip(b"\0"):
        length, space, _ = content[:20].partition(b" ")
        if not (space and length.isdigit() and len(length) < int(length) <= len(content)):
            raise tarfile.ReadError("an extended header is damaged")
        record, content = content[: int(length)], content[int(length) :]
        key, _, value = record[len(length) + 1 : -1].partition(b"=")
        yield _text(key), _text(value)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _exactly(stream: BinaryIO, num_bytes: int) -> bytes:
    block = stream.read(num_bytes) if num_bytes else b""
    while len(block) < num_bytes:
        more = stream.read(num_bytes - len(block))
        if not more:
            raise tarfile.ReadError("the archive ends in the middle of a member")
        block += more
    return block
