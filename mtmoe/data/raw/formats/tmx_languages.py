"""Languages of a translation memory, as its variants and its header name them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat

from mtmoe.data.raw.formats.xml_characters import XmlText
from mtmoe.data.raw.lines import check_is_not_compressed, open_decompressed
from mtmoe.errors import UserError

_READ_BYTES = 1 << 16
_MOST_CODES = 1000


class TmxLanguages(NamedTuple):
    """Language codes of a translation memory, as they are written there.

    variants: number of variants by code, in the order in which the codes are first met.
    source_language: that of the header; empty where it names none, or all.
    """

    variants: dict[str, int]
    source_language: str


def languages_of_tmx(path: Path, most_variants: int = 20_000) -> TmxLanguages:
    """Count the codes of the first variants of a file, in bounded memory.

    Raises:
        UserError: it is no XML.
    """
    counter = _LanguageCounter(path)
    with open_decompressed(path) as stream:
        block = stream.read(_READ_BYTES)
        check_is_not_compressed(block, path)
        text = XmlText(path, block, skip=True)
        while block and counter.num_variants < most_variants:
            counter.feed(text.decoded(block))
            block = stream.read(_READ_BYTES)
        if not block:
            counter.feed(text.decoded(b"", is_last=True), is_last=True)
    return TmxLanguages(dict(counter.variants), counter.source_language)


class _LanguageCounter:
    """Counts codes from the parser's events; text is passed over."""

    def __init__(self, path: Path) -> None:
        self.variants: Counter[str] = Counter()
        self.source_language = ""
        self.num_variants = 0
        self._path = path
        self._parser = expat.ParserCreate("utf-8")
        self._parser.StartElementHandler = self._start
        self._parser.EntityDeclHandler = self._refuse_entity
        # Entities are of no interest here: whoever reads the text tells of those that are unknown.
        self._parser.UseForeignDTD(True)
        self._parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_ALWAYS)
        self._parser.ExternalEntityRefHandler = self._read_empty_dtd

    def feed(self, text: str, is_last: bool = False) -> None:
        """Parse the next characters."""
        try:
            self._parser.Parse(text.encode("utf-8"), is_last)
        except expat.ExpatError as error:
            raise UserError(
                f"{self._path}:{error.lineno}: not valid XML: {expat.ErrorString(error.code)}",
                fix="repair or re-export the translation memory",
            ) from None

    def _start(self, element: str, attributes: dict[str, str]) -> None:
        if element == "header":
            code = attributes.get("srclang", "")
            self.source_language = "" if code == "*all*" else code
        elif element == "tuv":
            self.num_variants += 1
            code = attributes.get("xml:lang", attributes.get("lang", ""))
            if code in self.variants or len(self.variants) < _MOST_CODES:
                self.variants[code] += 1

    def _refuse_entity(self, name: str, *_details: object) -> None:
        raise UserError(
            f"{self._path}:{self._parser.CurrentLineNumber}: declares the entity {name!r}",
            fix="remove the declaration: entities in translation memories are refused for safety",
        )

    def _read_empty_dtd(self, context: str | None, *_names: object) -> int:
        self._parser.ExternalEntityParserCreate(context).Parse(b"", True)  # type: ignore[arg-type]
        return 1
