"""The first lines of a corpus file, looked at to learn its format, its languages and its encoding."""

from __future__ import annotations

import itertools
from pathlib import Path

from mtmoe.corpus_survey.language_identification import identify
from mtmoe.data.raw.lines import is_too_long, open_decompressed, open_text_lines
from mtmoe.errors import UserError

NUM_LINES = 2000
_MOST_NOT_UTF8 = 0.02
"""Share of lines that may not be UTF-8 in a file that is taken for UTF-8 with a few bad lines."""
_FIRST_BYTES = 1 << 16
_MOST_CONTROL = 0.01
_OTHER_ENCODINGS = {
    "cp1252": "WINDOWS-1252",
    "cp1250": "WINDOWS-1250",
    "cp1251": "WINDOWS-1251",
    "cp1253": "WINDOWS-1253",
    "cp1254": "WINDOWS-1254",
    "cp1255": "WINDOWS-1255",
    "cp1256": "WINDOWS-1256",
    "cp1257": "WINDOWS-1257",
    "koi8_r": "KOI8-R",
    "cp932": "CP932",
    "euc_jp": "EUC-JP",
    "gb18030": "GB18030",
    "big5": "BIG5",
    "cp949": "CP949",
    "cp874": "CP874",
}
"""Encodings that text of the past was written in, by Python's name and by that of iconv."""


def first_bytes(path: Path) -> bytes:
    """Return the first bytes of a file, decompressed.

    Raises:
        UserError: it cannot be read, or is empty.
    """
    with open_decompressed(path) as stream:
        beginning = stream.read(_FIRST_BYTES)
    if not beginning.strip():
        raise UserError(f"{path}: is empty", fix="name a file that holds text")
    return beginning


def first_lines(path: Path) -> list[str]:
    """Return the first lines of a file of text; a line that is not UTF-8 has marks (U+FFFD) in it.

    Raises:
        UserError: it is no text, is empty, or in another encoding than UTF-8: which one is guessed.
    """
    beginning = first_bytes(path)
    lines = [line for line in itertools.islice(open_text_lines(path), NUM_LINES) if not is_too_long(line)]
    bad = [line for line in lines if not _is_utf8(line)]
    if _is_binary(beginning):
        raise UserError(f"{path}: is no text", fix="name a file of text: two aligned files, TMX, TSV or JSON lines")
    if len(bad) > _MOST_NOT_UTF8 * len(lines):
        raise _not_utf8(path, lines, bad)
    return [line.decode("utf-8", "replace") for line in lines]


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_binary(beginning: bytes) -> bool:
    num_control = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in beginning)
    return num_control > _MOST_CONTROL * len(beginning)


def _not_utf8(path: Path, lines: list[bytes], bad: list[bytes]) -> UserError:
    problem = f"{path}: is not UTF-8: {len(bad):,} of its first {len(lines):,} lines"
    encoding = _likeliest_encoding(bad)
    if not encoding:
        return UserError(problem, fix=f"convert it: iconv -f ENCODING -t UTF-8 {path} > NEW_FILE")
    name = _OTHER_ENCODINGS[encoding]
    return UserError(
        f"{problem}; it reads as {name}",
        fix=f"convert it, and name the new file: iconv -f {name} -t UTF-8 {path} > NEW_FILE",
    )


def _likeliest_encoding(lines: list[bytes]) -> str:
    """Return the encoding in which the lines read most like a language; empty if they do in none."""
    scores = {}
    for encoding in _OTHER_ENCODINGS:
        try:
            text = [line.decode(encoding) for line in lines]
        except UnicodeDecodeError:
            continue
        found = identify(text)
        if found.is_known:
            scores[encoding] = found.probabilities[found.language]
    return max(scores, key=lambda encoding: scores[encoding], default="")
