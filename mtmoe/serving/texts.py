"""Texts of requests: the lines that are translated of them, and the text again from the translations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

_LINE_END = re.compile("\r\n|\n|\r")
_EDGES = re.compile(r"(\s*)(.*?)(\s*)", re.DOTALL)


class Text(Protocol):
    """What has lines to translate."""

    @property
    def lines(self) -> Sequence[str]:
        """Lines to translate, none of them blank."""
        ...

    def second_lines(self, translations: Sequence[str]) -> Sequence[str]:
        """Return further lines that are needed, because of what the first ones were translated into."""
        ...

    def takes(self, place: int, best: str, alternative: str) -> bool:
        """Return whether an alternative can stand in the place of a line's best translation."""
        ...

    def joined(self, translations: Sequence[str], second: Sequence[str]) -> str:
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

    def second_lines(self, translations: Sequence[str]) -> Sequence[str]:
        return ()

    def takes(self, place: int, best: str, alternative: str) -> bool:
        return True

    def joined(self, translations: Sequence[str], second: Sequence[str] = ()) -> str:
        parts = [between + translation for between, translation in zip(self.between, [*translations, ""], strict=True)]
        return "".join(parts)
