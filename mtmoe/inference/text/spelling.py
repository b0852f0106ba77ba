"""Spelling: subwords as the bytes that they spell, and bytes as subwords."""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence

from mtmoe.vocabulary import NUM_SPECIAL, UNK

_MARK = "\u2581"
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def spelling(piece_id: int, pieces: Sequence[str]) -> bytes:
    """Return what a subword spells: white space before a word is a space, a special symbol but <unk> nothing."""
    if piece_id == UNK:
        return "\ufffd".encode()
    if piece_id < NUM_SPECIAL:
        return b""
    if byte := _BYTE.fullmatch(pieces[piece_id]):
        return bytes([int(byte[1], 16)])
    return pieces[piece_id].replace(_MARK, " ").encode()


def texts_of_subwords(pieces: Sequence[str]) -> list[str]:
    """Return what each subword spells, white space before a word as a space; bytes beyond ASCII as one sign each."""
    return [spelling(piece_id, pieces).decode(errors="replace") for piece_id in range(len(pieces))]


class Spellings:
    """A vocabulary by what its subwords spell."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self.bytes_of = [spelling(piece_id, pieces) for piece_id in range(len(pieces))]
        # Where a byte and a character spell the same, the character: it comes later in the vocabulary.
        self._ids = {self.bytes_of[i]: i for i in range(NUM_SPECIAL, len(pieces)) if self.bytes_of[i]}
        self._longest = max(map(len, self._ids), default=0)
        self._sorted = sorted((self.bytes_of[i], i) for i in range(NUM_SPECIAL, len(pieces)) if self.bytes_of[i])
        self.continuing = frozenset(i for content, i in self._sorted if is_of_word(content[0]))
        """Subwords that begin with a letter or digit, and so continue a word."""
        self.ending = frozenset(range(NUM_SPECIAL, len(pieces))) - self.continuing
        """All others: a word before them is over."""

    def text(self, ids: Sequence[int]) -> bytes:
        """Return what subwords spell together."""
        return b"".join(map(self.bytes_of.__getitem__, ids))

    def first(self, text: bytes) -> int | None:
        """Return the longest subword that the text begins with."""
        for length in range(min(self._longest, len(text)), 0, -1):
            if (found := self._ids.get(text[:length])) is not None:
                return found
        return None

    def spelt(self, text: bytes) -> list[int] | None:
        """Return the text by longest subwords from left to right; None if it has something that no subword spells."""
        ids: list[int] = []
        while text:
            found = self.first(text)
            if found is None:
                return None
            ids.append(found)
            text = text[len(self.bytes_of[found]) :]
        return ids

    def fewest(self, text: bytes) -> list[int] | None:
        """Return the text by as few subwords as can be; None if it has something that no subword spells."""
        # From each place to the end; the first word and how many there are.
        best: list[tuple[int, int] | None] = [None] * len(text) + [(0, 0)]
        for place in range(len(text) - 1, -1, -1):
            for length in range(1, min(self._longest, len(text) - place) + 1):
                word, behind = self._ids.get(text[place : place + length]), best[place + length]
                if word is not None and behind is not None:
                    now = best[place]
                    if now is None or behind[1] + 1 <= now[1]:  # of equals the longest word
                        best[place] = (word, behind[1] + 1)
        ids: list[int] = []
        place = 0
        while place < len(text):
            found = best[place]
            if found is None:
                return None
            ids.append(found[0])
            place += len(self.bytes_of[found[0]])
        return ids

    def beginning_with(self, text: bytes) -> list[int]:
        """Return the subwords that begin with the text, or are it."""
        begin = bisect.bisect_left(self._sorted, (text, -1))
        found = []
        for content, piece_id in self._sorted[begin:]:
            if not content.startswith(text):
                break
            found.append(piece_id)
        return found

    def overlapping(self, text: bytes) -> set[int]:
        """Return the subwords that have the text, are a part of it, or end or begin as it begins or ends."""
        found = set()
        for content, piece_id in self._sorted:
            lengths = range(1, min(len(content), len(text)))
            is_around = content in text or text in content
            if is_around or any(content.endswith(text[:n]) or content.startswith(text[-n:]) for n in lengths):
                found.add(piece_id)
        return found

    def containing(self, text: bytes) -> list[int]:
        """Return the subwords that have the text somewhere."""
        return [piece_id for content, piece_id in self._sorted if text in content]


def begins_with_word(text: bytes) -> bool:
    """Return whether the text begins with a letter or digit."""
    return bool(text) and is_of_word(text[0])


def is_of_word(byte: int) -> bool:
    """Return whether a byte belongs to a letter, a digit or a low line; all beyond ASCII are taken for letters."""
    return byte >= 0x80 or chr(byte).isalnum() or byte == 0x5F


def as_spelt(text: str) -> str:
    """Return the text with spaces where its subwords spell them: SentencePiece's mark comes back as one."""
    return text.replace(_MARK, " ")
