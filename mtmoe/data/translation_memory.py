"""TMX 1.4 translation memories: a stream of units in bounded memory, without entities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

from mtmoe.data.lines import open_decompressed
from mtmoe.data.pairs import BadLine, OnBadLine, Pair
from mtmoe.errors import UserError

_READ_BYTES = 1 << 16
_CODE_ELEMENTS = frozenset({"bpt", "ept", "ph", "it", "ut"})
"""Their content is formatting code of the tool that wrote the memory, not text."""
_MOST_LANGUAGES_REMEMBERED = 20


def read_tmx(path: Path, source_language: str, target_language: str, on_bad_line: OnBadLine) -> Iterator[Pair]:
    """Stream the units that have both languages; ``en`` also takes ``en-US``.

    Units that lack one go to ``on_bad_line``. Declared entities are refused: nothing outside the
    file is read and nothing in it is blown up.
    """
    units = _Units(path, source_language, target_language, on_bad_line)
    with open_decompressed(path) as stream:
        while block := stream.read(_READ_BYTES):
            units.feed(block)
            yield from units.take()
        units.feed(b"", is_last=True)
        yield from units.take()
    if not units.num_pairs:
        found = ", ".join(sorted(units.languages)) or "none"
        raise UserError(
            f"{path}: no unit has both {source_language!r} and {target_language!r}; languages found: {found}",
            fix="correct source_language and target_language in the recipe",
        )


class _Units:
    """Collects pairs from the parser's events."""

    def __init__(self, path: Path, source_language: str, target_language: str, on_bad_line: OnBadLine) -> None:
        self.num_pairs = 0
        self.languages: set[str] = set()
        self._path = path
        self._wanted = (source_language, target_language)
        self._on_bad_line = on_bad_line
        self._pairs: list[Pair] = []
        self._segments: dict[str, str] = {}  # of the current unit, by wanted language
        self._unit_line = 0
        self._language: str | None = None  # of the current variant, when it is wanted
        self._text: list[str] | None = None  # of the current segment
        self._code_depth = 0
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.EntityDeclHandler = self._refuse_entity

    def feed(self, block: bytes, is_last: bool = False) -> None:
        try:
            self._parser.Parse(block, is_last)
        except expat.ExpatError as error:
            raise UserError(
                f"{self._path}:{error.lineno}: not valid XML: {expat.ErrorString(error.code)}",
                fix="repair or re-export the translation memory",
            ) from None

    def take(self) -> list[Pair]:
        pairs, self._pairs = self._pairs, []
        return pairs

    def _start(self, element: str, attributes: dict[str, str]) -> None:
        if element == "tu":
            self._segments = {}
            self._unit_line = self._parser.CurrentLineNumber
        elif element == "tuv":
            self._language = self._wanted_language(attributes.get("xml:lang", attributes.get("lang", "")))
        elif element == "seg" and self._language is not None:
            self._text = []
            self._code_depth = 0
        elif element in _CODE_ELEMENTS:
            self._code_depth += 1

    def _end(self, element: str) -> None:
        if element == "seg" and self._text is not None and self._language is not None:
            self._segments.setdefault(self._language, "".join(self._text))
            self._text = None
        elif element == "tuv":
            self._language = None
        elif element == "tu":
            self._finish_unit()
        elif element in _CODE_ELEMENTS:
            self._code_depth -= 1

    def _characters(self, text: str) -> None:
        if self._text is not None and self._code_depth == 0:
            self._text.append(text)

    def _finish_unit(self) -> None:
        missing = [language for language in self._wanted if language not in self._segments]
        if missing:
            problem = f"no {' and no '.join(missing)} in this unit"
            self._on_bad_line(BadLine(str(self._path), self._unit_line, problem))
            return
        source, target = (self._segments[language] for language in self._wanted)
        self._pairs.append(Pair(source, target))
        self.num_pairs += 1

    def _wanted_language(self, code: str) -> str | None:
        if len(self.languages) < _MOST_LANGUAGES_REMEMBERED:
            self.languages.add(code)
        normalised = code.lower().replace("_", "-")
        for language in self._wanted:
            wanted = language.lower().replace("_", "-")
            if normalised == wanted or normalised.startswith(wanted + "-"):
                return language
        return None

    def _refuse_entity(self, name: str, *_details: object) -> None:
        raise UserError(
            f"{self._path}:{self._parser.CurrentLineNumber}: declares the entity {name!r}",
            fix="remove the declaration: entities in translation memories are refused for safety",
        )
