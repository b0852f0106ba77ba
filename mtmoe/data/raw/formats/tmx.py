"""TMX 1.4 translation memories, in any encoding that Python knows: a stream of units in bounded memory."""

from __future__ import annotations

import html.entities
import re
from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

from mtmoe.config.settings import TmxSource
from mtmoe.data.raw.formats.reading import Reading
from mtmoe.data.raw.formats.xml_characters import NOT_OF_THE_ENCODING, NOT_OF_XML, XmlText
from mtmoe.data.raw.lines import LONGEST_LINE_BYTES, check_is_not_compressed, open_decompressed
from mtmoe.data.raw.sentence_pairs import INVALID_UTF8, SECOND_VARIANT, TOO_LONG, BadLine, OnBadLine, Pair
from mtmoe.errors import UserError
from mtmoe.languages import covers, is_written_without_spaces

_READ_BYTES = 1 << 16
_LARGEST_TAG_BYTES = 1 << 22
_CODE_ELEMENTS = frozenset({"bpt", "ept", "ph", "it", "ut", "sub"})
"""Their content is formatting code of the tool that wrote the memory, or (``sub``) another text inside of it, such as
a footnote: no part of the sentence."""
_MOST_LANGUAGES_REMEMBERED = 20
_PROBLEMS = {
    NOT_OF_THE_ENCODING: INVALID_UTF8,
    NOT_OF_XML: "holds a control character or another one that XML has not",
}
_MARK = re.compile(f"[{NOT_OF_THE_ENCODING}{NOT_OF_XML}]")


def read_tmx_source(source: TmxSource, reading: Reading) -> Iterator[Pair]:
    """Read the units of a translation memory that have both languages of the recipe."""
    languages = reading.data.source_language, reading.data.target_language
    return read_tmx(reading.locate(source.file), *languages, reading.on_bad_line, skip=reading.skips_invalid)


def read_tmx(
    path: Path, source_language: str, target_language: str, on_bad_line: OnBadLine, *, skip: bool = False
) -> Iterator[Pair]:
    """Stream the units that have both languages; ``en`` also takes ``en-US``.

    Of a unit counts the first variant of a language with a segment; further ones, and units that lack a language, go
    to ``on_bad_line``. Elements inside a segment end a word: ``Go<ph/>to`` is ``Go to``. The named entities of HTML are
    read as what they mean. Entities that the file declares are refused: nothing outside the file is read and nothing in
    it is blown up.

    Args:
        skip: whether a unit with what is no text (bytes that are not of the file's encoding, control characters,
            unknown entities) goes to ``on_bad_line``, too; else it is an error.

    Raises:
        UserError: with file and line: it is no translation memory, or none of these languages.
    """
    units = _Units(path, source_language, target_language, on_bad_line, skip)
    with open_decompressed(path) as stream:
        block = stream.read(_READ_BYTES)
        check_is_not_compressed(block, path)
        text = XmlText(path, block, skip)
        while block:
            units.feed(text.decoded(block))
            yield from units.take()
            block = stream.read(_READ_BYTES)
        units.feed(text.decoded(b"", is_last=True), is_last=True)
        yield from units.take()
    if not units.num_pairs:
        raise units.why_none()


def _html_entities() -> bytes:
    """Write a DTD that declares the named characters of HTML; those of XML itself are known."""
    declared = []
    for name, characters in html.entities.html5.items():
        if name.endswith(";") and name[:-1] not in ("lt", "gt", "amp", "quot", "apos"):
            # Twice escaped, so that what means < or & does not become a tag or a reference.
            text = "".join(f"&#38;#{ord(character)};" for character in characters)
            declared.append(f'<!ENTITY {name[:-1]} "{text}">')
    return "".join(declared).encode("ascii")


class _Units:
    """Collects pairs from the parser's events."""

    def __init__(
        self, path: Path, source_language: str, target_language: str, on_bad_line: OnBadLine, skip: bool
    ) -> None:
        self.num_pairs = 0
        self._path = path
        self._wanted = (source_language, target_language)
        self._on_bad_line = on_bad_line
        self._skip = skip
        self._languages: set[str] = set()
        self._root = ""
        self._num_fed = 0
        self._first_bad = ""
        self._pairs: list[Pair] = []
        self._segments: dict[str, str] = {}  # of the current unit, by wanted language
        self._variants: set[str] = set()  # of the current unit: wanted languages, with a segment or not
        self._unit_line = 0
        self._problem = ""  # the first of the unit
        self._language: str | None = None  # of the current variant, when it is wanted
        self._text: list[str] | None = None  # of the current segment
        self._num_characters = 0
        self._code_depth = 0
        self._after_element = False
        self._parser = expat.ParserCreate("utf-8")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.EntityDeclHandler = self._refuse_entity
        self._parser.SkippedEntityHandler = self._unknown_entity
        # In place of whatever DTD the file names, and also where it names none.
        self._parser.UseForeignDTD(True)
        self._parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_ALWAYS)
        self._parser.ExternalEntityRefHandler = self._read_own_dtd

    def feed(self, text: str, is_last: bool = False) -> None:
        block = text.encode("utf-8")
        self._num_fed += len(block)
        try:
            self._parser.Parse(block, is_last)
        except expat.ExpatError as error:
            raise UserError(
                f"{self._path}:{error.lineno}: not valid XML: {expat.ErrorString(error.code)}",
                fix="repair or re-export the translation memory",
            ) from None
        if self._num_fed - max(self._parser.CurrentByteIndex, 0) > _LARGEST_TAG_BYTES:
            raise UserError(
                f"{self._path}:{self._parser.CurrentLineNumber}: a tag or comment begins here that has more than "
                f"{_LARGEST_TAG_BYTES:,} bytes",
                fix="repair or re-export the translation memory",
            )

    def take(self) -> list[Pair]:
        pairs, self._pairs = self._pairs, []
        return pairs

    def why_none(self) -> UserError:
        """Return an error that says why there was no pair."""
        if self._root != "tmx":
            return UserError(
                f"{self._path}: is no translation memory: its first element is <{self._root}>, not <tmx>",
                fix="export it as TMX, or correct format in the recipe",
            )
        source, target = self._wanted
        if self._first_bad and all(any(covers(w, code) for code in self._languages) for w in self._wanted):
            return UserError(
                f"{self._path}: no unit has a segment in both {source!r} and {target!r}; the first: {self._first_bad}",
                fix="repair or re-export the translation memory",
            )
        found = ", ".join(sorted(self._languages)) or "none"
        return UserError(
            f"{self._path}: no unit has both {source!r} and {target!r}; languages found: {found}",
            fix="correct source_language and target_language in the recipe",
        )

    def _start(self, element: str, attributes: dict[str, str]) -> None:
        self._root = self._root or element
        if self._text is not None:
            self._after_element = True
            self._code_depth += element in _CODE_ELEMENTS
        elif element == "tu":
            self._segments, self._variants, self._problem = {}, set(), ""
            self._unit_line = self._parser.CurrentLineNumber
        elif element == "tuv":
            self._begin_variant(attributes.get("xml:lang", attributes.get("lang", "")))
        elif element == "seg" and self._language is not None:
            self._text, self._num_characters = [], 0
            self._code_depth = 0
            self._after_element = False

    def _begin_variant(self, code: str) -> None:
        if len(self._languages) < _MOST_LANGUAGES_REMEMBERED:
            self._languages.add(code)
        self._language = next((language for language in self._wanted if covers(language, code)), None)
        if self._language is None:
            return
        self._variants.add(self._language)
        if self._language in self._segments:
            self._leave_out(SECOND_VARIANT, self._parser.CurrentLineNumber)
            self._language = None

    def _end(self, element: str) -> None:
        if element == "seg" and self._text is not None:
            assert self._language is not None
            self._segments.setdefault(self._language, "".join(self._text))
            self._text = None
        elif self._text is not None:
            self._after_element = True
            self._code_depth -= element in _CODE_ELEMENTS
        elif element == "tuv":
            self._language = None
        elif element == "tu":
            self._finish_unit()

    def _characters(self, text: str) -> None:
        if self._text is None or self._code_depth:
            return
        mark = _MARK.search(text)
        if mark is not None:
            self._note_problem(_PROBLEMS[mark[0]])
        if self._after_element and self._text and _are_of_two_words(self._text[-1][-1], text[0]):
            self._text.append(" ")
        self._after_element = False
        self._num_characters += len(text)
        if self._num_characters <= LONGEST_LINE_BYTES:
            self._text.append(text)
        else:
            self._problem = self._problem or TOO_LONG

    def _finish_unit(self) -> None:
        if self._problem:
            self._leave_out(self._problem, self._unit_line)
            return
        missing = [language for language in self._wanted if language not in self._segments]
        if missing:
            empty = [language for language in missing if language in self._variants]
            what = f"<seg> of {' and of '.join(empty)}" if empty else " and no ".join(missing)
            self._leave_out(f"no {what} in this unit", self._unit_line)
            return
        source, target = (self._segments[language] for language in self._wanted)
        self._pairs.append(Pair(source, target))
        self.num_pairs += 1

    def _note_problem(self, problem: str) -> None:
        """Note a problem of text in the current unit: an error, unless such units may be left out."""
        if not self._skip:
            raise UserError(
                f"{self._path}:{self._parser.CurrentLineNumber}: {problem}",
                fix='correct the unit, or leave such units out with data.cleaning.on_invalid_utf8 = "skip"',
            )
        self._problem = self._problem or problem

    def _leave_out(self, problem: str, line: int) -> None:
        self._first_bad = self._first_bad or f"line {line}: {problem}"
        self._on_bad_line(BadLine(str(self._path), line, problem))

    def _unknown_entity(self, name: str, is_parameter_entity: bool) -> None:
        if self._text is not None and not is_parameter_entity:
            self._note_problem(f"holds &{name};, which is no entity of XML or HTML")

    def _refuse_entity(self, name: str, *_details: object) -> None:
        raise UserError(
            f"{self._path}:{self._parser.CurrentLineNumber}: declares the entity {name!r}",
            fix="remove the declaration: entities in translation memories are refused for safety",
        )

    def _read_own_dtd(self, context: str | None, *_names: object) -> int:
        parser = self._parser.ExternalEntityParserCreate(context)  # type: ignore[arg-type]
        parser.EntityDeclHandler = None
        parser.Parse(_html_entities(), True)
        return 1


def _are_of_two_words(before: str, after: str) -> bool:
    """Tell whether what an element stood between would be glued together without a space."""
    if is_written_without_spaces(before) or is_written_without_spaces(after):
        return False
    if before in ".:":  # www.example.org, 3.5
        return after.isupper()
    return (before.isalnum() or before in ",;!?)]}»”…") and (after.isalnum() or after in "([{«“¿¡")
