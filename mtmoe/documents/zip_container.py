"""Zip containers (docx, odt, epub ...): members that are not changed keep their compressed bytes, as do all others
their place, name, date and kind of compression."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

from mtmoe.errors import UserError

_MOST_RATIO = 200
"""How many times larger than its compressed bytes a large member may be."""
_LARGE_MEMBER = 1 << 24
_MOST_MEMBERS = 65_000
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_ENCRYPTED, _SIZES_FOLLOW = 1, 8
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def is_zip(content: bytes) -> bool:
    """Return whether it begins as a zip file does."""
    return content.startswith(b"PK\x03\x04")


class ZipContainer:
    """The members of a zip file."""

    def __init__(self, content: bytes, name: str, most_bytes: int = 1 << 28) -> None:
        """Read the directory.

        Args:
            name: of the file, for errors.
            most_bytes: of all that is read.

        Raises:
            UserError: it is no zip file, damaged, encrypted, or made to fill the memory.
        """
        self.name = name
        self._content = content
        if content.startswith(_OLE):
            raise UserError(
                f"{name}: is encrypted with a password, or of the format before 2007 (.doc, .xls, .ppt)",
                fix="open it and save it without a password, in the newer format",
            )
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(content))
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error):
            raise UserError(
                f"{name}: is no zip file, as this format is, or it is damaged", fix="save or download it once more"
            ) from None
        self._infos = self._zip.infolist()
        if len(self._infos) > _MOST_MEMBERS or len({info.filename for info in self._infos}) < len(self._infos):
            raise UserError(f"{name}: has members of the same name, or too many", fix="save it once more")
        if any(info.flag_bits & _ENCRYPTED for info in self._infos):
            raise UserError(f"{name}: is encrypted with a password", fix="save it without a password")
        self._num_read, self._most_bytes = 0, most_bytes

    @property
    def names(self) -> list[str]:
        """Return the names of all members, in order."""
        return [info.filename for info in self._infos]

    def __contains__(self, member: str) -> bool:
        return member in self._zip.NameToInfo

    def read(self, member: str) -> bytes:
        """Return the content of a member.

        Raises:
            UserError: it is damaged, or grows too large.
        """
        info = self._zip.getinfo(member)
        self._num_read += info.file_size
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UserError(f"{self.name}: {member} is compressed in an unusual way", fix="save the document once more")
        is_blown_up = info.file_size > max(_LARGE_MEMBER, _MOST_RATIO * info.compress_size)
        if is_blown_up or self._num_read > self._most_bytes:
            raise UserError(
                f"{self.name}: {member} would be {info.file_size:,} bytes in memory, more than such a file is believed",
                fix="divide the document, if it is one",
            )
        try:
            return self._zip.read(info)
        except (
            zipfile.BadZipFile,
            zlib.error,
            NotImplementedError,
            EOFError,
            ValueError,
            OSError,
            RuntimeError,
        ) as error:
            raise UserError(
                f"{self.name}: {member} cannot be read: {error}", fix="save or download it once more"
            ) from None

    def with_members(self, changed: Mapping[str, bytes]) -> bytes:
        """Return the container with other content of some members."""
        output = io.BytesIO()
        directory: list[bytes] = []
        for info in self._infos:
            offset = output.tell()
            local = self._local_header(info)
            name_and_extra = self._name_and_extra(info)
            if info.filename in changed and changed[info.filename] != self._zip.read(info):
                data = changed[info.filename]
                packed = _packed(data, info.compress_type)
                crc, sizes = zlib.crc32(data), (len(packed), len(data))
                flags = info.flag_bits & ~_SIZES_FOLLOW
                fields = (local[0], local[1], flags, *local[3:6], crc, *sizes, *local[9:])
                output.write(_LOCAL.pack(*fields) + name_and_extra + packed)
            else:
                flags, crc, sizes = info.flag_bits, info.CRC, (info.compress_size, info.file_size)
                begin = info.header_offset
                end = begin + _LOCAL.size + len(name_and_extra) + info.compress_size
                end += self._length_of_sizes(info, end)
                output.write(self._content[begin:end])
            directory.append(self._directory_entry(info, flags, crc, sizes, offset))
        begin = output.tell()
        output.write(b"".join(directory))
        size = output.tell() - begin
        count, comment = len(directory), self._zip.comment
        output.write(_END.pack(b"PK\5\6", 0, 0, count, count, size, begin, len(comment)) + comment)
        return output.getvalue()

    def _local_header(self, info: zipfile.ZipInfo) -> tuple[bytes | int, ...]:
        return _LOCAL.unpack_from(self._content, info.header_offset)

    def _name_and_extra(self, info: zipfile.ZipInfo) -> bytes:
        *_, name_length, extra_length = self._local_header(info)
        begin = info.header_offset + _LOCAL.size
        return self._content[begin : begin + int(name_length) + int(extra_length)]

    def _length_of_sizes(self, info: zipfile.ZipInfo, place: int) -> int:
        """Return the length of what follows a member where its sizes were not known before it was written."""
        if not info.flag_bits & _SIZES_FOLLOW:
            return 0
        return 16 if self._content[place : place + 4] == b"PK\7\x08" else 12

    def _directory_entry(
        self, info: zipfile.ZipInfo, flags: int, crc: int, sizes: tuple[int, int], offset: int
    ) -> bytes:
        name = info.filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437")
        year, month, day, hour, minute, second = info.date_time
        return (
            _CENTRAL.pack(
                b"PK\1\2",
                info.create_version | info.create_system << 8,
                info.extract_version,
                flags,
                info.compress_type,
                hour << 11 | minute << 5 | second // 2,
                (year - 1980) << 9 | month << 5 | day,
                crc,
                *sizes,
                len(name),
                len(info.extra),
                len(info.comment),
                0,
                info.internal_attr,
                info.external_attr,
                offset,
            )
            + name
            + info.extra
            + info.comment
        )


def _packed(data: bytes, kind: int) -> bytes:
    if kind == zipfile.ZIP_STORED:
        return data
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    return compressor.compress(data) + compressor.flush()
