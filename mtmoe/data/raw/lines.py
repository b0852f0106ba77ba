"""Bytes to lines: compression is told by the file's name, nothing but a newline byte ends a line, and no line, however
long it is, takes more memory than `LONGEST_LINE_BYTES`."""

from __future__ import annotations

import bz2
import codecs
import difflib
import gzip
import io
import lzma
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from mtmoe.errors import UserError

LONGEST_LINE_BYTES = 1 << 20
"""Of text, without its line end: a thousand times what a sentence has, and as much as SentencePiece is given to learn
from. A longer line is told of and passed over, in bounded memory; it still counts as a line."""

_READ_BYTES = 1 << 16
# Of a .zst file at a time: its best is 32 kB from a byte, so that this becomes 32 MB at most.
_ZSTANDARD_READ_BYTES = 1 << 10
# What `zstd --long=31` may need (2 GiB); memory is taken as it is used.
_LARGEST_ZSTANDARD_WINDOW = 1 << 31
_BYTE_ORDER_MARKS = {  # the longer ones first: that of UTF-32-LE begins with that of UTF-16-LE
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
# Which of the first four bytes are zero in text that is mostly ASCII and has no mark.
_ZEROS: dict[tuple[bool, ...], str] = {
    (False, True, True, True): "UTF-32LE",
    (True, True, True, False): "UTF-32BE",
    (False, True, False, True): "UTF-16LE",
    (True, False, True, False): "UTF-16BE",
}

_OPEN_DESCRIPTORS = ("/dev/fd", "/proc/self/fd")

_MAGIC_NUMBERS = {
    b"\x1f\x8b": ".gz",
    b"\xfd7zXZ\x00": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
    **{b"BZh%d1AY&SY" % level: ".bz2" for level in range(1, 10)},
    b"PK\x03\x04": ".zip",
}


class LongLineError(UserError):
    """A line has more than `LONGEST_LINE_BYTES`."""


def check_is_file(path: Path) -> None:
    """Raise a UserError, with the nearest name that exists, unless ``path`` is a file."""
    if path.is_dir():
        raise UserError(f"{path}: is a directory, not a file", fix="name a file in it")
    if path.exists() and not path.is_file():
        raise UserError(
            f"{path}: is a pipe or device, and files are read more than once", fix="write its text to a file first"
        )
    if not path.is_file():
        raise UserError(f"{path}: no such file", fix=_nearest_path(path))


def is_open_pipe(path: Path) -> bool:
    """Return whether it names a pipe or terminal that this process was given: ``<(command)`` of a shell, /dev/stdin.

    It can be read, but once only. A named pipe is none: it may wait for a writer for ever.
    """
    if str(path) != "/dev/stdin" and str(path.parent) not in _OPEN_DESCRIPTORS:
        return False
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or (stat.S_ISCHR(mode) and _is_terminal(path))


def _is_terminal(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        return os.isatty(descriptor)
    finally:
        os.close(descriptor)


def _nearest_path(path: Path) -> str:
    missing = path
    while not missing.parent.is_dir():
        missing = missing.parent
    if missing != path:
        what = f"the directory {missing} does not exist"
    else:
        what = "check the path"
    names = [entry.name for entry in missing.parent.iterdir()]
    nearest = difflib.get_close_matches(missing.name, names, n=1)
    return f"{what}; did you mean {missing.parent / nearest[0]}?" if nearest else what


def _zstandard_frame() -> zstandard.ZstdDecompressionObj:
    return zstandard.ZstdDecompressor(max_window_size=_LARGEST_ZSTANDARD_WINDOW).decompressobj()


class _ZstandardStream(io.RawIOBase):
    """A .zst file; unlike the reader of ``zstandard`` it notices a file that was cut off."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._frame = _zstandard_frame()
        self._frame_has_begun = False
        self._pending = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._pending:
            compressed = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = _zstandard_frame()
                self._frame_has_begun = False
            compressed = compressed or self._file.read(_ZSTANDARD_READ_BYTES)
            if not compressed:
                if self._frame_has_begun:
                    raise EOFError("the file ends in the middle of a frame")
                return 0
            self._frame_has_begun = True
            self._pending = memoryview(self._frame.decompress(compressed))  # slices of it are no copies
        num_bytes = min(len(buffer), len(self._pending))
        buffer[:num_bytes] = self._pending[:num_bytes]
        self._pending = self._pending[num_bytes:]
        return num_bytes

    def close(self) -> None:
        self._file.close()
        super().close()


def _open_zstandard(path: Path) -> io.BufferedReader:
    return io.BufferedReader(_ZstandardStream(path.open("rb")), _READ_BYTES)


_OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.GzipFile,
    ".xz": lzma.LZMAFile,
    ".bz2": bz2.BZ2File,
    ".zst": _open_zstandard,
}

_UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)


@contextmanager
def open_decompressed(path: Path) -> Iterator[BinaryIO]:
    """Open the bytes of a plain, .gz, .xz, .bz2 or .zst file, or of a pipe that `is_open_pipe`.

    What goes wrong while the file is read becomes a UserError that names the file.
    """
    if not is_open_pipe(path):
        check_is_file(path)
    try:
        with _OPENERS.get(path.suffix, lambda plain: plain.open("rb"))(path) as stream:
            yield stream
    except PermissionError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}", fix="change its permissions") from None
    except _UNREADABLE as error:
        if path.suffix not in _OPENERS:
            raise UserError(f"{path}: cannot be read: {error}") from None
        raise UserError(
            f"{path}: cannot be decompressed as {path.suffix}: {error}",
            fix="the file is damaged, cut off or not compressed: fetch it again, or correct its name",
        ) from None


def open_text_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a plain or compressed file, without line end and without byte order mark.

    Only a newline byte ends a line: a form feed, a lone carriage return, U+0085 or U+2028 in the
    middle of a sentence never shifts the lines that follow. A carriage return before it is dropped. Of a line that
    `is_too_long` only the beginning is there.
    """
    with open_decompressed(path) as stream:
        yield from text_lines(stream, path)


def text_lines(stream: BinaryIO, path: Path) -> Iterator[bytes]:
    """Yield as :func:`open_text_lines` does, of what is open already; ``path`` is what errors call it."""
    lines = _bounded_lines(stream)
    for first in lines:
        check_is_text(first, path)
        yield _without_line_end(first.removeprefix(codecs.BOM_UTF8))
        break
    for line in lines:
        yield _without_line_end(line)


def _bounded_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the lines with their ends; of one that is too long the beginning, by which `is_too_long` knows it."""
    most = LONGEST_LINE_BYTES + len(b"\r\n")
    while line := stream.readline(most):
        if len(line) == most and not line.endswith(b"\n"):
            while (rest := stream.readline(_READ_BYTES)) and not rest.endswith(b"\n"):
                pass
        yield line


def is_too_long(line: bytes) -> bool:
    """Return whether a line, without its line end, is (the beginning of) one that is not read."""
    return len(line) > LONGEST_LINE_BYTES


def _without_line_end(line: bytes) -> bytes:
    if line.endswith(b"\n"):
        return line[:-2] if line.endswith(b"\r\n") else line[:-1]
    return line


def check_is_text(beginning: bytes, path: Path | None) -> None:
    """Name the two mistakes that would otherwise look like line 1 being invalid UTF-8.

    Args:
        beginning: of what was read, decompressed as the name says.
        path: None for standard input.

    Raises:
        UserError: it is UTF-16 or UTF-32, or a compressed file.
    """
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if beginning.startswith(mark)), "")
    encoding = encoding or _ZEROS.get(tuple(byte == 0 for byte in beginning[:4]), "")
    if encoding:
        raise UserError(
            f"{path or 'standard input'}: is {encoding}, not UTF-8", fix=f"convert it: iconv -f {encoding} -t UTF-8"
        )
    check_is_not_compressed(beginning, path)


def check_is_not_compressed(beginning: bytes, path: Path | None) -> None:
    """Check as :func:`check_is_text`, where any encoding will do."""
    for magic, suffix in _MAGIC_NUMBERS.items():
        if beginning.startswith(magic):
            if path is None:
                raise UserError(
                    f"standard input: holds {suffix} data, not text", fix="unpack it first, or name the file"
                )
            raise UserError(
                f"{path}: holds {suffix} data, but its name does not end in {suffix}",
                fix=f"rename it to {path.name}{suffix}" if suffix in _OPENERS else "unpack it first",
            )


def decode_line(line: bytes, path: Path, number: int, *, or_else: str = "") -> str:
    """Return the text of line ``number`` (from 1).

    Args:
        or_else: what else can be done than to convert the file, for the message.

    Raises:
        LongLineError: it `is_too_long`.
        UserError: it is not UTF-8: with file, line and byte.
    """
    if is_too_long(line):
        raise LongLineError(
            f"{path}:{number}: the line is longer than {LONGEST_LINE_BYTES:,} bytes",
            fix="divide it into lines of one sentence, or remove it",
        )
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}:{number}: not UTF-8: byte 0x{line[error.start]:02x} at position {error.start + 1} of the line",
            fix="convert the file with iconv, or correct the line" + (f", or {or_else}" if or_else else ""),
        ) from None
