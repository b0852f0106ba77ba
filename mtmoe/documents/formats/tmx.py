"""TMX: units that lack the target language get a variant of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from mtmoe.documents.document import Document, DocumentOptions, Pieces, PieceSize, Skeleton
from mtmoe.documents.formats.xliff import inline_tokens
from mtmoe.documents.tokens import Token
from mtmoe.documents.xml_tree import XML_NAMESPACE, Element, XmlStream, escaped, escaped_in_attribute
from mtmoe.errors import UserError
from mtmoe.languages import covers

_LANGUAGE = f"{XML_NAMESPACE} lang"


def read_pieces(
    stream: BinaryIO, name: str, options: DocumentOptions, size: PieceSize | None = None
) -> Iterator[Document]:
    """Read a translation memory, some units at a time.

    Raises:
        UserError: it is none, or no unit has the source language.
    """
    xml = XmlStream(stream, name, "tu")
    pieces = Pieces(options, lambda text, is_first: xml.encoded(text, is_first=is_first), size)
    found: set[str] = set()
    for part in xml.parts():
        if xml.root_name not in ("", "tmx"):
            raise UserError(
                f"{name}: is no TMX: its first element is <{xml.root_name}>", fix="name its format with --format"
            )
        pieces.add(part if isinstance(part, str) else _unit(part, pieces.skeleton, found))
        if pieces.is_full:
            yield pieces.cut()
    if options.source and not any(covers(options.source, code) for code in found):
        languages = ", ".join(sorted(found)) or "none"
        raise UserError(
            f"{name}: no unit has the source language {options.source!r}; languages found: {languages}",
            fix="use a run of these languages",
        )
    yield pieces.cut()


def _unit(unit: Element, skeleton: Skeleton, found: set[str]) -> str:
    options = skeleton.options
    variants = {variant: _language(variant) for variant in unit.elements("tuv")}
    found.update(code for code in variants.values() if len(found) < 20)
    source = next((each for each, code in variants.items() if covers(options.source, code)), None)
    target = next((each for each, code in variants.items() if covers(options.target, code)), None)
    segment = None if source is None else source.first("seg")
    if source is None or segment is None:
        return unit.raw
    old = None if target is None else target.first("seg")
    if old is not None and old.text.strip() and not options.retranslate:
        skeleton.num_kept += 1
        return unit.raw
    before = len(skeleton.segments)
    mark = skeleton.mark(inline_tokens(segment.children, _classified), escaped)
    if len(skeleton.segments) == before:
        return unit.raw
    new = f"<seg>{mark}</seg>"
    if target is None:
        attribute = "xml:lang" if _LANGUAGE in source.attributes else "lang"
        variant = f'<tuv {attribute}="{escaped_in_attribute(options.target)}">{new}</tuv>'
        last = list(variants)[-1]
        space = _space_before(unit, last)
        parts = (child.raw + (space + variant if child is last else "") for child in unit.children)
    elif old is None:
        return unit.raw
    else:
        inner = "".join(new if child is old else child.raw for child in target.children)
        parts = (target.opening + inner + target.closing if child is target else child.raw for child in unit.children)
    return unit.opening + "".join(parts) + unit.closing


def _space_before(unit: Element, variant: Element) -> str:
    """Return the white space in front of a variant, so that the next one is written below it."""
    place = unit.children.index(variant)
    before = unit.children[place - 1].raw if place else ""
    return before if not before.strip() else ""


def _language(variant: Element) -> str:
    return variant.attributes.get(_LANGUAGE, variant.attributes.get("lang", ""))


def _classified(element: Element) -> list[Token] | None:
    """Return the tokens of an inline element; None: it is a pair of tags."""
    if element.name == "hi":
        return None
    kind = {"bpt": "open", "ept": "close"}.get(element.name, "alone")
    name = f"code {element.attributes.get('i')}" if kind != "alone" else element.name
    return [Token(kind, element.raw, name, is_shown=element.name == "ph")]  # type: ignore[arg-type]
