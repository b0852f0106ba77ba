"""XML as a tree of elements that know how they are written: what is not changed is written byte for byte.

Parsed by expat; entities that the document declares are refused, and nothing outside of it is read.
"""

from __future__ import annotations

import codecs
import html
import re
from collections.abc import Iterator
from xml.parsers import expat

from mtmoe.errors import UserError

_MOST_DEPTH = 200
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
    mark = next((mark for mark in _BYTE_ORDER_MARKS if content.startswith(mark)), b"")
    declared = _ENCODING.match(content)
    encoding = _BYTE_ORDER_MARKS[mark] if mark else declared[1].decode("ascii").lower() if declared else "utf-8"
    try:
        return content[len(mark) :].decode(encoding), encoding, mark
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = (
            f"{name}:{line}: is not {encoding}, which it says it is" if declared else f"{name}:{line}: is not UTF-8"
        )
        raise UserError(problem, fix="write its true encoding into its first line, or save it as UTF-8") from None
    except LookupError:
        raise UserError(f"{name}:1: has the unknown encoding {encoding}", fix="save it as UTF-8") from None


def parse_xml(content: bytes, name: str) -> XmlDocument:
    """Parse a document.

    Args:
        name: of the file, for errors.

    Raises:
        UserError: it is not well-formed, declares entities, or is nested too deeply.
    """
    text, encoding, mark = decoded_xml(content, name)
    return XmlDocument(*_Parser(name).parsed(text), encoding, mark)


class _Parser:
    def __init__(self, name: str) -> None:
        self._name = name
        self._events: list[tuple[int, str, Element | None]] = []
        self._parser = parser = expat.ParserCreate("utf-8", namespace_separator=" ")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = lambda _: self._note("end")
        parser.CharacterDataHandler = lambda _: self._note("text")
        parser.StartCdataSectionHandler = lambda: self._note("open cdata")
        parser.EndCdataSectionHandler = lambda: self._note("close cdata")
        parser.DefaultHandler = lambda _: self._note("other")
        parser.EntityDeclHandler = self._refuse_entity
        parser.SkippedEntityHandler = lambda *_: self._note("text")

    def parsed(self, text: str) -> tuple[str, Element, str]:
        """Return what is before the root, the root, and what is behind it."""
        data = text.encode("utf-8", "surrogatepass")
        try:
            self._parser.Parse(data, True)
        except expat.ExpatError as error:
            what = expat.ErrorString(error.code)
            raise UserError(
                f"{self._name}:{error.lineno}: not valid XML: {what}", fix="repair the file, or save it once more"
            ) from None
        top = Element("", "", {})
        stack = [top]
        before = behind = ""
        in_cdata = False
        self._events.append((len(data), "other", None))
        first = self._events[0][0]
        if first:
            before = data[:first].decode("utf-8")
        for (begin, kind, element), (end, _, _) in zip(self._events, self._events[1:], strict=False):
            raw = data[begin:end].decode("utf-8", "surrogatepass")
            if kind == "start":
                assert element is not None
                element.opening = raw
                stack[-1].children.append(element)
                stack.append(element)
                if len(stack) > _MOST_DEPTH:
                    raise UserError(
                        f"{self._name}: its elements are nested more than {_MOST_DEPTH} deep", fix="check the file"
                    )
            elif kind == "end":
                stack.pop().closing = raw
            elif kind == "text" and len(stack) > 1:
                stack[-1].children.append(Text(raw, raw if in_cdata else unescaped(raw)))
            elif len(stack) > 1:
                in_cdata = {"open cdata": True, "close cdata": False}.get(kind, in_cdata)
                stack[-1].children.append(Text(raw))
            elif top.children:
                behind += raw
            else:
                before += raw
        root = next(top.elements())
        return before, root, behind

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        uri, _, local = name.rpartition(" ")
        self._note("start", Element(uri, local, attributes))

    def _note(self, kind: str, element: Element | None = None) -> None:
        place = self._parser.CurrentByteIndex
        if self._events and self._events[-1][1] == kind and kind in ("text", "other"):
            return  # one piece
        self._events.append((place, kind, element))

    def _refuse_entity(self, name: str, *_details: object) -> None:
        raise UserError(
            f"{self._name}:{self._parser.CurrentLineNumber}: declares the entity {name!r}",
            fix="remove the declaration: entities in documents are refused for safety",
        )
