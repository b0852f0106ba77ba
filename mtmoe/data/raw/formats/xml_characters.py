"""Characters of XML files in any encoding that Python knows, as an XML parser takes them."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from mtmoe.errors import UserError

# Marks of what was there and is no text. Both are noncharacters that XML allows and nobody may use.
NOT_OF_THE_ENCODING, NOT_OF_XML = "\U0010fffe", "\U0010ffff"
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_REFERENCE = re.compile("&#(?:x([0-9A-Fa-f]{1,8})|([0-9]{1,10}));")
_LONGEST_REFERENCE = len("&#4294967295;")
_DECLARED = re.compile(rb"\A\s*<\?xml[^>]{0,1000}?\sencoding\s*=\s*[\"']([A-Za-z0-9._:-]+)[\"']")
_FIRST_BYTES = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
    b"<\0\0\0": "utf-32-le",
    b"\0\0\0<": "utf-32-be",
    b"<\0": "utf-16-le",
    b"\0<": "utf-16-be",
}


def _mark_bytes(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return NOT_OF_THE_ENCODING, error.end


codecs.register_error("mtmoe-mark", _mark_bytes)


class XmlText:
    """Bytes to characters that an XML parser takes; what it would not take becomes a mark."""

    def __init__(self, path: Path, beginning: bytes, skip: bool) -> None:
        """Begin to decode. ``skip``: bytes that are not of the encoding become marks, too; else they are an error."""
        self._path = path
        self._encoding = _encoding(path, beginning)
        self._decoder = codecs.getincrementaldecoder(self._encoding)("mtmoe-mark" if skip else "strict")
        self._num_lines = 0
        self._waiting = ""
        self._is_first = True

    def decoded(self, block: bytes, is_last: bool = False) -> str:
        """Decode the next bytes, but for what may be half a reference."""
        try:
            text = self._decoder.decode(block, is_last)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(self._encoding, "ignore")
            raise UserError(
                f"{self._path}:{self._num_lines + before.count(chr(10)) + 1}: not {self._encoding}: byte "
                f"0x{error.object[error.start]:02x}",
                fix="correct the encoding that the file declares, or leave such units out with "
                'data.cleaning.on_invalid_utf8 = "skip"',
            ) from None
        self._num_lines += text.count("\n")
        if self._is_first and text:
            text, self._is_first = text.removeprefix("\ufeff"), False
        text = self._waiting + _FORBIDDEN.sub(NOT_OF_XML, text)
        begin = text.rfind("&", -_LONGEST_REFERENCE) if not is_last else -1
        self._waiting = text[begin:] if begin >= 0 and ";" not in text[begin:] else ""
        return _REFERENCE.sub(_checked_reference, text.removesuffix(self._waiting) if self._waiting else text)


def _checked_reference(match: re.Match[str]) -> str:
    code = int(match[1], 16) if match[1] else int(match[2])
    return NOT_OF_XML if code > 0x10FFFF or _FORBIDDEN.match(chr(code)) else match[0]


def _encoding(path: Path, beginning: bytes) -> str:
    """Return the encoding, by the first bytes (XML 1.0, appendix F) or else as the file declares it."""
    for first, encoding in _FIRST_BYTES.items():
        if beginning.startswith(first):
            return encoding
    declared = _DECLARED.match(beginning)
    name = declared[1].decode("ascii") if declared else "utf-8"
    if name.lower().startswith(("utf-16", "utf16", "utf-32", "utf32", "ucs-", "iso-10646-ucs")):
        return "utf-8"  # of something that was converted without its first line: it has one byte a character
    for known in (name, name.lower().removeprefix("x-")):
        try:
            if b"<?xml".decode(known) == "<?xml" and "idna" not in known and "escape" not in known:
                return codecs.lookup(known).name
        except (LookupError, ValueError):
            continue
    raise UserError(
        f"{path}:1: is in the encoding {name!r}, which is not known",
        fix='convert it to UTF-8 with iconv, and declare encoding="UTF-8" in its first line',
    )
