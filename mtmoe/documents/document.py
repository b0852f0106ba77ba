"""Document: what stays of a file, and its segments; what is asked of it is independent of its format."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, get_args

from mtmoe.documents.segment import Segment, SegmentLanguages
from mtmoe.documents.tokens import Token, Translated

DocumentPart = Literal["headers", "notes", "comments", "alt-texts"]
DOCUMENT_PARTS: tuple[DocumentPart, ...] = get_args(DocumentPart)
"""headers: and footers. notes: at the foot, at the end, and of speakers. comments: of those who worked on it.
alt-texts: of images, and titles that a pointer shows."""
USUAL_PARTS: tuple[DocumentPart, ...] = ("headers", "notes", "alt-texts")
_MARK = re.compile("\0([0-9]+)\0")


class DocumentOptions(NamedTuple):
    """Which text of a document is translated.

    source, target: codes of the languages. parts: besides the text itself. retranslate: translate what has a
    translation in the document already, too. column: of a table, from 1; None: all. most_bytes: of what is read of a
    container, unpacked.
    """

    source: str = ""
    target: str = ""
    parts: tuple[DocumentPart, ...] = USUAL_PARTS
    retranslate: bool = False
    column: int | None = None
    in_sentences: bool = True
    most_bytes: int = 1 << 28

    @property
    def languages(self) -> SegmentLanguages:
        """Return the languages, as segments know them."""
        return SegmentLanguages(self.source, self.target)


class Skeleton:
    """Takes the segments of a text, and gives a mark for each, which stands in the text in its place.

    A mark is between zero bytes, which no text has; it can be within the markup of another segment.
    """

    def __init__(self, options: DocumentOptions) -> None:
        self.options = options
        self.segments: list[Segment] = []
        self.num_kept = 0
        """Segments that have a translation already."""
        self._languages = options.languages

    def mark(self, tokens: Sequence[Token], escaped: Callable[[str], str] = str) -> str:
        """Return what stands for a segment of these tokens; or the tokens as they are written, if there is no text."""
        segment = Segment(tokens, escaped, self._languages, in_sentences=self.options.in_sentences)
        if not segment.has_text:
            return segment.joined(())
        self.segments.append(segment)
        return f"\0{len(self.segments) - 1}\0"

    def filled(self, text: str, translated: Callable[[int], str]) -> str:
        """Return a text with segments in the place of their marks."""
        return _MARK.sub(lambda match: self.filled(translated(int(match[1])), translated), text)


class PieceSize(NamedTuple):
    """How much of a large document is a piece: whatever comes first. Each is as good as a document of its own."""

    segments: int = 2048
    characters: int = 1 << 20


class Pieces:
    """Cuts pieces off a document that is read bit by bit: together they are the document."""

    def __init__(
        self, options: DocumentOptions, encoded: Callable[[str, bool], bytes], size: PieceSize | None = None
    ) -> None:
        """
        Args:
            encoded: from a text to bytes; the other argument says whether the document begins with it.
            size: None: all of the document is one piece.
        """
        self._options, self._encoded, self._size = options, encoded, size
        self._is_first = True
        self._begin()

    def _begin(self) -> None:
        self.skeleton = Skeleton(self._options)
        """Takes the segments of this piece."""
        self._texts: list[str] = []
        self._num_characters = 0

    def add(self, marked: str) -> None:
        """Add what comes next, with marks in place of its segments."""
        self._texts.append(marked)
        self._num_characters += len(marked)

    @property
    def is_full(self) -> bool:
        """Return whether the piece is as large as it should be."""
        size = self._size
        return size is not None and (
            len(self.skeleton.segments) >= size.segments or self._num_characters >= size.characters
        )

    def cut(self) -> Document:
        """Return what was added since the last time."""
        text, is_first, encoded = "".join(self._texts), self._is_first, self._encoded
        piece = Document(self.skeleton, lambda fill: encoded(fill(text), is_first))
        self._is_first = False
        self._begin()
        return piece


class Document:
    """A document whose text can be translated, or a piece of one.

    >>> document = Document(skeleton, lambda fill: fill(text).encode())                      # doctest: +SKIP
    >>> translations = translate(document.lines)
    >>> second = translate(document.second_lines(translations))
    >>> document.content(translations, second)
    """

    def __init__(self, skeleton: Skeleton, composed: Callable[[Callable[[str], str]], bytes]) -> None:
        """
        Args:
            composed: returns the bytes of the document; it is given what fills in the segments of a text with marks.
        """
        self._skeleton, self._composed = skeleton, composed
        self.num_kept = skeleton.num_kept

    @property
    def _segments(self) -> list[Segment]:
        return self._skeleton.segments

    @property
    def lines(self) -> list[str]:
        """Return the lines to translate, none of them blank."""
        return [line for segment in self._segments for line in segment.lines]

    def take_known(self, known: Callable[[str], str | None]) -> int:
        """Take translations that are known already; return how many lines that spares."""
        return sum(segment.take_known(known) for segment in self._segments)

    def second_lines(self, translations: Sequence[Translated]) -> list[str]:
        """Return further lines that are needed because of how :attr:`lines` are translated."""
        return [
            line
            for segment, own in zip(self._segments, self._shares(translations), strict=True)
            for line in segment.second_lines(own)
        ]

    def content(self, translations: Sequence[Translated], second: Sequence[Translated] = ()) -> bytes:
        """Return the document with translations of :attr:`lines` and of :meth:`second_lines`."""
        return self._composed(lambda text: self.filled(text, translations, second))

    def filled(self, text: str, translations: Sequence[Translated], second: Sequence[Translated] = ()) -> str:
        """Return a text of the document with its segments translated."""
        remaining = iter(second)
        done = []
        for segment, own in zip(self._segments, self._shares(translations), strict=True):
            done.append(segment.joined(own, [next(remaining) for _ in segment.second_lines(own)]))
        return self._skeleton.filled(text, done.__getitem__)

    def _shares(self, translations: Sequence[Translated]) -> Iterator[Sequence[Translated]]:
        place = 0
        for segment in self._segments:
            yield translations[place : place + len(segment.lines)]
            place += len(segment.lines)
