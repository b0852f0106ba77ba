"""OpenDocument: texts (odt), spreadsheets (ods) and presentations (odp)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mtmoe.documents.document import Document, DocumentOptions, Skeleton
from mtmoe.documents.tokens import Token
from mtmoe.documents.xml_tree import Element, Text, XmlDocument, escaped, parse_xml
from mtmoe.documents.zip_container import ZipContainer
from mtmoe.errors import UserError

_CONTENT, _STYLES, _MANIFEST = "content.xml", "styles.xml", "META-INF/manifest.xml"
_PARAGRAPHS = frozenset({"p", "h"})
_PAIRS = frozenset({"span", "a", "meta"})
_DIVIDERS = frozenset({"tab", "line-break"})
_UNSEEN = frozenset({"s", "soft-page-break", "bookmark", "reference-mark", "change", "annotation", "annotation-end"})
_RANGE = re.compile(r"\A(.+)-(start|end)\Z")
_KEPT = frozenset({"tracked-changes", "sequence-decls", "variable-decls", "user-field-decls"})


def read(content: bytes, name: str, options: DocumentOptions) -> Document:
    """Read a document.

    Raises:
        UserError: it is damaged, encrypted, or none of these.
    """
    container = ZipContainer(content, name, options.most_bytes)
    if _CONTENT not in container and _STYLES not in container:
        raise UserError(f"{name}: is no OpenDocument (odt, ods, odp)", fix="name its format with --format")
    if _MANIFEST in container and b"encryption-data" in container.read(_MANIFEST):
        raise UserError(f"{name}: is encrypted with a password", fix="save it without a password")
    skeleton = Skeleton(options)
    members: dict[str, tuple[XmlDocument, str]] = {}
    for member in (_CONTENT, _STYLES):
        if member not in container or (member == _STYLES and "headers" not in options.parts):
            continue
        xml = parse_xml(container.read(member), f"{name}: {member}")
        before = len(skeleton.segments)
        marked = xml.before + _Marking(skeleton).marked(xml.root) + xml.behind
        if len(skeleton.segments) > before:
            members[member] = (xml, marked)
    return Document(
        skeleton,
        lambda fill: container.with_members(
            {member: xml.encoded(fill(marked)) for member, (xml, marked) in members.items()}
        ),
    )


class _Marking:
    """Writes elements with marks in place of their segments."""

    def __init__(self, skeleton: Skeleton) -> None:
        self._skeleton = skeleton
        self._parts = skeleton.options.parts

    def marked(self, node: Element | Text) -> str:
        if isinstance(node, Text) or node.name in _KEPT:
            return node.raw
        part = {"notes": "notes", "note": "notes", "annotation": "comments"}.get(node.name)
        if part is not None and part not in self._parts:
            return node.raw
        if node.name in ("title", "desc") and "svg" in node.uri:
            return self._text(node) if "alt-texts" in self._parts else node.raw
        if node.name in _PARAGRAPHS and node.uri.endswith(":text:1.0"):
            return self._text(node)
        return node.opening + "".join(map(self.marked, node.children)) + node.closing

    def _text(self, element: Element) -> str:
        parts: list[str] = []
        waiting: list[Token] = []
        for token in self._tokens(element.children):
            if token.name == "divider":
                parts += [self._skeleton.mark(waiting, escaped), token.content]
                waiting = []
            else:
                waiting.append(token)
        return element.opening + "".join([*parts, self._skeleton.mark(waiting, escaped)]) + element.closing

    def _tokens(self, nodes: Sequence[Element | Text]) -> Iterator[Token]:
        for node in nodes:
            if isinstance(node, Text):
                yield Token("text", node.text, raw=node.raw) if node.text else Token("alone", node.raw)
            elif node.name in _PAIRS and node.closing:
                yield Token("open", node.opening, node.name)
                yield from self._tokens(node.children)
                yield Token("close", node.closing, node.name)
            elif node.name in _DIVIDERS:
                yield Token("alone", node.raw, "divider")
            elif (ranged := _RANGE.match(node.name)) and not node.children:
                number = next((value for key, value in node.attributes.items() if key.endswith((" name", "-id"))), "")
                kind = "open" if ranged[2] == "start" else "close"
                yield Token(kind, node.raw, f"{ranged[1]} {number}")  # type: ignore[arg-type]
            else:
                yield Token("alone", self.marked(node), node.name, is_shown=node.name not in _UNSEEN)
