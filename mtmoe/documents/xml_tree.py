"""XML as a tree of elements that know how they are written: what is not changed is written byte for byte.

Parsed by expat; entities that the document declares are refused, and nothing outside of it is read.
"""

from __future__ import annotations

import codecs
import html
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import BinaryIO, NamedTuple
from xml.parsers import expat

from mtmoe.errors import UserError

_MOST_DEPTH = 200
_BLOCK_BYTES = 1 << 18
_ENCODING = re.compile(rb"""^(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_REFERENCE = re.compile(r"&(#x[0-9A-Fa-f]+|#[0-9]+|\w+);")
_NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}
# XML has none of them, whatever a model writes.
_NOT_OF_XML = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

XML_NAMESPACE = "http://www.w3.org/XML/1998/namespace"


class Text:
    """Character data, a comment or the like, as it is written. text: what it says; empty for what says nothing."""

    __slots__ = ("raw", "text")

    def __init__(self, raw: str, text: str = "") -> None:
        self.raw, self.text = raw, text


class Element:
    """An element. uri, name: namespace and local name. attributes: by local name, those of namespaces by ``uri name``.
    opening, closing: the tags as they are written; of an empty element the first alone."""

    __slots__ = ("attributes", "children", "closing", "name", "opening", "uri")

    def __init__(self, uri: str, name: str, attributes: dict[str, str]) -> None:
        self.uri, self.name, self.attributes = uri, name, attributes
        self.opening = self.closing = ""
        self.children: list[Element | Text] = []

    def elements(self, name: str = "") -> Iterator[Element]:
        """Yield the elements directly within this one, of that local name if one is given."""
        for child in self.children:
            if isinstance(child, Element) and (not name or child.name == name):
                yield child

    def first(self, name: str) -> Element | None:
        """Return the first element of that local name directly within this one."""
        return next(self.elements(name), None)

    def all(self, name: str) -> Iterator[Element]:
        """Yield all elements of that local name, at any depth, in order."""
        for child in self.elements():
            if child.name == name:
                yield child
            yield from child.all(name)

    @property
    def text(self) -> str:
        """Return all text within it."""
        return "".join(child.text for child in self.children)

    @property
    def inner(self) -> str:
        """Return what is between its tags, as it is written."""
        return "".join(child.raw for child in self.children)

    @property
    def raw(self) -> str:
        """Return the element as it is written."""
        return self.opening + self.inner + self.closing


class XmlDocument:
    """A document: what is written before and behind the root, the root, and the encoding."""

    def __init__(self, before: str, root: Element, behind: str, encoding: str, mark: bytes) -> None:
        self.before, self.root, self.behind = before, root, behind
        self._encoding, self._mark = encoding, mark

    def encoded(self, text: str) -> bytes:
        """Return a text in the encoding of the document; what that lacks as references."""
        return self._mark + text.encode(self._encoding, "xmlcharrefreplace")


def escaped(text: str) -> str:
    """Return a text as XML writes it."""
    return html.escape(_NOT_OF_XML.sub("\ufffd", text), quote=False)


def escaped_in_attribute(text: str) -> str:
    """Return a text as XML writes it between quotation marks of either kind."""
    return html.escape(_NOT_OF_XML.sub("\ufffd", text), quote=True)


def unescaped(raw: str) -> str:
    """Return what character data says; references to what is not known stay."""

    def character(match: re.Match[str]) -> str:
        name = match[1]
        if name.startswith("#"):
            number = int(name[2:], 16) if name[1] == "x" else int(name[1:])
            return chr(number) if number <= 0x10FFFF else match[0]
        return _NAMED.get(name, match[0])

    return _REFERENCE.sub(character, raw.replace("\r\n", "\n"))


def decoded_xml(content: bytes, name: str) -> tuple[str, str, bytes]:
    """Return the text of an XML document, the encoding, and the byte order mark, if there is one.

    Raises:
        UserError: the bytes are of another encoding than the document says.
    """
    coding = _Coding.of(content)
    text = "".join(coding.decoded([content], name))
    return text, coding.encoding, coding.mark


class _Coding(NamedTuple):
    """The encoding of a document, the byte order mark at its beginning, and whether it says its encoding."""

    encoding: str
    mark: bytes
    is_declared: bool

    @classmethod
    def of(cls, beginning: bytes) -> _Coding:
        mark = next((mark for mark in _BYTE_ORDER_MARKS if beginning.startswith(mark)), b"")
        declared = _ENCODING.match(beginning)
        encoding = _BYTE_ORDER_MARKS[mark] if mark else declared[1].decode("ascii").lower() if declared else "utf-8"
        return cls(encoding, mark, declared is not None)

    def decoded(self, blocks: Iterable[bytes], name: str) -> Iterator[str]:
        """Yield the text of all blocks of the document, without its mark.

        Raises:
            UserError: the bytes are of another encoding; it is not known.
        """
        try:
            b"    ".decode(self.encoding, "replace")  # refuses codecs of something else than text
            decoder = codecs.getincrementaldecoder(self.encoding)()
        except (LookupError, UnicodeError):
            raise UserError(f"{name}:1: has the unknown encoding {self.encoding}", fix="save it as UTF-8") from None
        num_lines, to_skip = 0, len(self.mark)
        try:
            for block in blocks:
                text = decoder.decode(block[to_skip:])
                to_skip = 0
                yield text
                num_lines += text.count("\n")
            yield decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            line = num_lines + error.object.count(b"\n", 0, error.start) + 1
            problem = f"is not {self.encoding}, which it says it is" if self.is_declared else "is not UTF-8"
            raise UserError(
                f"{name}:{line}: {problem}", fix="write its true encoding into its first line, or save it as UTF-8"
            ) from None


def parse_xml(content: bytes, name: str) -> XmlDocument:
    """Parse a document.

    Args:
        name: of the file, for errors.

    Raises:
        UserError: it is not well-formed, declares entities, or is nested too deeply.
    """
    text, encoding, mark = decoded_xml(content, name)
    tree, before, behind = _Tree(name), "", ""
    for event in _events([text], name):
        if event.kind == "start" or not tree.is_complete:
            tree.add(event)
        elif tree.roots:
            behind += event.raw
        else:
            before += event.raw
    return XmlDocument(before, tree.roots[0], behind, encoding, mark)


class XmlStream:
    """A document that is read bit by bit: its elements of one name, each as a tree, and what is around them as text.

    Memory is bounded by the largest of these elements.
    """

    def __init__(self, stream: BinaryIO, name: str, unit: str) -> None:
        """Look at the beginning.

        Args:
            name: of the file, for errors.
            unit: local name of the elements. One that is within another is a part of it.
        """
        self._stream, self._name, self._unit = stream, name, unit
        self._beginning = stream.read(_BLOCK_BYTES)
        self._coding = _Coding.of(self._beginning)
        self.root_name = ""
        """Local name of the first element; empty until it was read."""

    def parts(self) -> Iterator[str | Element]:
        """Yield all of the document in order: text as it is written, and units.

        Raises:
            UserError: as :func:`parse_xml`.
        """
        tree = _Tree(self._name)
        around: list[str] = []
        num_open = num_characters = 0
        for event in _events(self._coding.decoded(self._blocks(), self._name), self._name):
            if event.element is not None:
                self.root_name = self.root_name or event.element.name
            if not tree.is_complete or (event.element is not None and event.element.name == self._unit):
                if around:
                    yield "".join(around)
                    around, num_characters = [], 0
                tree.add(event)
                if tree.is_complete:
                    yield tree.roots.pop()
                continue
            num_open += {"start": 1, "end": -1}.get(event.kind, 0)
            _check_depth(num_open, self._name)
            around.append(event.raw)
            num_characters += len(event.raw)
            if num_characters >= _BLOCK_BYTES:
                yield "".join(around)
                around, num_characters = [], 0
        yield "".join(around)

    def _blocks(self) -> Iterator[bytes]:
        yield self._beginning
        while block := self._stream.read(_BLOCK_BYTES):
            yield block

    def encoded(self, text: str, *, is_first: bool) -> bytes:
        """Return a part of the document in its encoding; what that lacks as references.

        Args:
            is_first: it is the beginning, where the byte order mark stands, if there is one.
        """
        return (self._coding.mark if is_first else b"") + text.encode(self._coding.encoding, "xmlcharrefreplace")


class _Event(NamedTuple):
    """A piece of a document. raw: as it is written. element: of a ``start``."""

    raw: str
    kind: str
    element: Element | None


class _Tree:
    """Elements that are made of events."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._top = Element("", "", {})
        self._stack = [self._top]
        self._in_cdata = False

    @property
    def is_complete(self) -> bool:
        """Return whether no element is open."""
        return len(self._stack) == 1

    @property
    def roots(self) -> list[Element]:
        """Return the elements that are within no other."""
        return self._top.children  # type: ignore[return-value]

    def add(self, event: _Event) -> None:
        """Add what comes next; outside of all elements that is a start.

        Raises:
            UserError: nested too deeply.
        """
        inner = self._stack[-1]
        if event.kind == "start":
            assert event.element is not None
            event.element.opening = event.raw
            inner.children.append(event.element)
            self._stack.append(event.element)
            _check_depth(len(self._stack), self._name)
        elif event.kind == "end":
            self._stack.pop().closing = event.raw
        elif event.kind == "text":
            inner.children.append(Text(event.raw, event.raw if self._in_cdata else unescaped(event.raw)))
        else:
            self._in_cdata = {"open cdata": True, "close cdata": False}.get(event.kind, self._in_cdata)
            inner.children.append(Text(event.raw))


def _check_depth(depth: int, name: str) -> None:
    if depth > _MOST_DEPTH:
        raise UserError(f"{name}: its elements are nested more than {_MOST_DEPTH} deep", fix="check the file")


def _events(texts: Iterable[str], name: str) -> Iterator[_Event]:
    """Yield what a document consists of.

    Args:
        texts: the document, in pieces.

    Raises:
        UserError: it is not well-formed, or declares entities.
    """
    parser = _Parser(name)
    for text in texts:
        yield from parser.fed(text.encode("utf-8", "surrogatepass"))
    yield from parser.ended()


class _Parser:
    """Expat, and what it says in the words of the document: each event with the text that it was made of."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._places: list[tuple[int, str, Element | None]] = [(0, "other", None)]
        """Of each event: where it begins (in bytes), its kind, and its element. The last one may go on."""
        self._data = b""
        self._num_told = 0
        """Bytes in front of ``_data``."""
        self._parser = parser = expat.ParserCreate("utf-8", namespace_separator=" ")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = lambda _: self._note("end")
        parser.CharacterDataHandler = lambda _: self._note("text")
        parser.StartCdataSectionHandler = lambda: self._note("open cdata")
        parser.EndCdataSectionHandler = lambda: self._note("close cdata")
        parser.DefaultHandler = lambda _: self._note("other")
        parser.EntityDeclHandler = self._refuse_entity
        parser.SkippedEntityHandler = lambda *_: self._note("text")

    def fed(self, data: bytes) -> Iterator[_Event]:
        """Read on; yield the events that are complete."""
        self._parse(data, is_last=False)
        return self._complete()

    def ended(self) -> Iterator[_Event]:
        """Yield what was left at the end."""
        self._parse(b"", is_last=True)
        self._places.append((self._num_told + len(self._data), "end of file", None))
        return self._complete()

    def _parse(self, data: bytes, *, is_last: bool) -> None:
        self._data += data
        try:
            self._parser.Parse(data, is_last)
        except expat.ExpatError as error:
            what = expat.ErrorString(error.code)
            raise UserError(
                f"{self._name}:{error.lineno}: not valid XML: {what}", fix="repair the file, or save it once more"
            ) from None

    def _complete(self) -> Iterator[_Event]:
        data, first = self._data, self._num_told
        events, self._places = self._places, self._places[-1:]
        self._num_told = self._places[0][0]
        self._data = data[self._num_told - first :]
        for (begin, kind, element), (end, _, _) in pairwise(events):
            if begin < end or kind != "other":
                yield _Event(data[begin - first : end - first].decode("utf-8", "surrogatepass"), kind, element)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        uri, _, local = name.rpartition(" ")
        self._note("start", Element(uri, local, attributes))

    def _note(self, kind: str, element: Element | None = None) -> None:
        if self._places[-1][1] == kind and kind in ("text", "other"):
            return  # one piece
        self._places.append((self._parser.CurrentByteIndex, kind, element))

    def _refuse_entity(self, name: str, *_details: object) -> None:
        raise UserError(
            f"{self._name}:{self._parser.CurrentLineNumber}: declares the entity {name!r}",
            fix="remove the declaration: entities in documents are refused for safety",
        )
