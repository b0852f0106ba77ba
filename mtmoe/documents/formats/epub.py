"""EPUB: the pages of a book, and its table of contents."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from urllib.parse import unquote

from mtmoe.documents.document import Document, DocumentOptions, Skeleton
from mtmoe.documents.formats.html import decoded_html, marked_html
from mtmoe.documents.tokens import Token
from mtmoe.documents.xml_tree import Element, Text, escaped, parse_xml
from mtmoe.documents.zip_container import ZipContainer
from mtmoe.errors import UserError

_CONTAINER, _ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"
_PAGE, _CONTENTS = "application/xhtml+xml", "application/x-dtbncx+xml"

_Member = tuple[str, Callable[[str], bytes]]
"""Text with marks, and what encodes it."""


def read(content: bytes, name: str, options: DocumentOptions) -> Document:
    """Read a book.

    Raises:
        UserError: it is damaged, encrypted, or no EPUB.
    """
    container = ZipContainer(content, name, options.most_bytes)
    if _CONTAINER not in container:
        raise UserError(f"{name}: is no EPUB", fix="name its format with --format")
    kinds = _kinds(container)
    _check_is_readable(container, kinds)
    skeleton = Skeleton(options)
    members: dict[str, _Member] = {}
    for member in container.names:
        kind = kinds.get(member)
        if kind not in (_PAGE, _CONTENTS):
            continue
        before = len(skeleton.segments)
        read_member = _page if kind == _PAGE else _contents
        found = read_member(container.read(member), f"{name}: {member}", skeleton)
        if len(skeleton.segments) > before:
            members[member] = found
    return Document(
        skeleton,
        lambda fill: container.with_members(
            {member: encoded(fill(text)) for member, (text, encoded) in members.items()}
        ),
    )


def _page(content: bytes, name: str, skeleton: Skeleton) -> _Member:
    decoded = decoded_html(content, name)
    return marked_html(decoded.text, skeleton), decoded.encoded


def _contents(content: bytes, name: str, skeleton: Skeleton) -> _Member:
    xml = parse_xml(content, name)

    def marked(node: Element | Text) -> str:
        if isinstance(node, Text):
            return node.raw
        if node.name == "text":
            tokens = [Token("text", child.text, raw=child.raw) for child in node.children if isinstance(child, Text)]
            return node.opening + skeleton.mark(tokens, escaped) + node.closing
        return node.opening + "".join(map(marked, node.children)) + node.closing

    return xml.before + marked(xml.root) + xml.behind, xml.encoded


def _kinds(container: ZipContainer) -> dict[str, str]:
    """Return the media types of the members, as the packages of the book tell them."""
    root = parse_xml(container.read(_CONTAINER), f"{container.name}: {_CONTAINER}").root
    kinds: dict[str, str] = {}
    for rootfile in root.all("rootfile"):
        package = rootfile.attributes.get("full-path", "")
        if package not in container:
            raise UserError(f"{container.name}: lacks {package}, its list of pages", fix="download it once more")
        for item in parse_xml(container.read(package), f"{container.name}: {package}").root.all("item"):
            path = posixpath.normpath(
                posixpath.join(posixpath.dirname(package), unquote(item.attributes.get("href", "")))
            )
            kinds[path] = item.attributes.get("media-type", "")
    return kinds


def _check_is_readable(container: ZipContainer, kinds: dict[str, str]) -> None:
    if _ENCRYPTION not in container:
        return
    root = parse_xml(container.read(_ENCRYPTION), f"{container.name}: {_ENCRYPTION}").root
    for reference in root.all("CipherReference"):
        if kinds.get(unquote(reference.attributes.get("URI", ""))) in (_PAGE, _CONTENTS):
            raise UserError(f"{container.name}: its pages are encrypted", fix="use a book without such protection")
