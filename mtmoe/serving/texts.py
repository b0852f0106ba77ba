"""Texts of requests: the lines that are translated of them, and the text again from the translations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from mtmoe.documents.document import Document, DocumentOptions, Skeleton
from mtmoe.documents.formats.html import marked_html
from mtmoe.documents.tokens import Translated

_LINE_END = re.compile("\r\n|\n|\r")
_EDGES = re.compile(r"(\s*)(.*?)(\s*)", re.DOTALL)


class Text(Protocol):
    """What has lines to translate."""

    @property
    def lines(self) -> Sequence[str]:
        """Lines to translate, none of them blank."""
        ...

    def second_lines(self, translations: Sequence[Translated]) -> Sequence[str]:
        """Return further lines that are needed, because of what the first ones were translated into."""
        ...

    def joined(self, translations: Sequence[Translated], second: Sequence[Translated]) -> str:
        """Return the text with the translations in the place of its lines."""
        ...


class PlainText:
    """Plain text: each line is translated by itself; blank lines, line ends and white space around lines stay."""

    def __init__(self, text: str) -> None:
        self.lines: list[str] = []
        self.between: list[str] = [""]  # before the first line, between lines, behind the last one
        begin = 0
        for match in [*_LINE_END.finditer(text), None]:
            end, behind = (len(text), len(text)) if match is None else match.span()
            line = _EDGES.fullmatch(text, begin, end)
            assert line is not None
            self.between[-1] += line[1]
            if line[2]:
                self.lines.append(line[2])
                self.between.append("")
            self.between[-1] += line[3] + text[end:behind]
            begin = behind

    def second_lines(self, translations: Sequence[Translated]) -> Sequence[str]:
        return ()

    def joined(self, translations: Sequence[Translated], second: Sequence[Translated] = ()) -> str:
        texts = [*(translation.text for translation in translations), ""]
        return "".join(between + text for between, text in zip(self.between, texts, strict=True))


class MarkupText:
    """Text with tags (HTML, XML): they go where the word alignment says."""

    def __init__(self, text: str, source: str, target: str, *, in_sentences: bool = True) -> None:
        options = DocumentOptions(source, target, parts=(), in_sentences=in_sentences)
        skeleton = Skeleton(options)
        self._marked = marked_html(text, skeleton)
        self._document = Document(skeleton, lambda fill: fill(self._marked).encode())
        self.lines = self._document.lines

    def second_lines(self, translations: Sequence[Translated]) -> Sequence[str]:
        return self._document.second_lines(translations)

    def joined(self, translations: Sequence[Translated], second: Sequence[Translated] = ()) -> str:
        return self._document.filled(self._marked, translations, second)
