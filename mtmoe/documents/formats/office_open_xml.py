"""Office Open XML: documents (docx), spreadsheets (xlsx) and presentations (pptx).

Which members hold text, their content types tell. All others are copied as they are.
"""

from __future__ import annotations

from typing import NamedTuple

from mtmoe.documents.document import Document, DocumentOptions, DocumentPart, Skeleton
from mtmoe.documents.runs import RunText, without_empty_runs
from mtmoe.documents.xml_tree import XmlDocument, parse_xml
from mtmoe.documents.zip_container import ZipContainer
from mtmoe.errors import UserError

_TYPES = "[Content_Types].xml"
_PARAGRAPHS = frozenset({"p"})
_STRINGS = frozenset({"si", "is"})
_COMMENTS = frozenset({"text"})


class _Kind(NamedTuple):
    """Members whose content type ends so. paragraphs: names of the elements that hold runs. part: of a setting."""

    ending: str
    paragraphs: frozenset[str] = _PARAGRAPHS
    part: DocumentPart | None = None


_KINDS = (
    _Kind("wordprocessingml.document.main+xml"),
    _Kind("ms-word.document.macroenabled.main+xml"),
    _Kind("wordprocessingml.header+xml", part="headers"),
    _Kind("wordprocessingml.footer+xml", part="headers"),
    _Kind("wordprocessingml.footnotes+xml", part="notes"),
    _Kind("wordprocessingml.endnotes+xml", part="notes"),
    _Kind("wordprocessingml.comments+xml", part="comments"),
    _Kind("spreadsheetml.sharedstrings+xml", _STRINGS),
    _Kind("spreadsheetml.worksheet+xml", _STRINGS),
    _Kind("spreadsheetml.comments+xml", _COMMENTS, "comments"),
    _Kind("presentationml.slide+xml"),
    _Kind("presentationml.notesslide+xml", part="notes"),
    _Kind("drawingml.chart+xml"),
    _Kind("drawingml.diagramdata+xml"),
    _Kind("drawingml.diagramdrawing+xml"),
    _Kind("officedocument.drawing+xml"),
)


def read(content: bytes, name: str, options: DocumentOptions) -> Document:
    """Read a document.

    Raises:
        UserError: it is damaged, encrypted, or none of these.
    """
    container = ZipContainer(content, name, options.most_bytes)
    if _TYPES not in container:
        raise UserError(f"{name}: is no Office Open XML (docx, xlsx, pptx)", fix="name its format with --format")
    types = parse_xml(container.read(_TYPES), f"{name}: {_TYPES}").root
    kinds = {
        override.attributes.get("PartName", "").lstrip("/"): override.attributes.get("ContentType", "").lower()
        for override in types.elements("Override")
    }
    kept = _column_names(container, kinds)
    skeleton = Skeleton(options)
    members: dict[str, tuple[XmlDocument, str]] = {}
    for member in container.names:
        kind = next((kind for kind in _KINDS if kinds.get(member, "").endswith(kind.ending)), None)
        if kind is None or (kind.part is not None and kind.part not in options.parts):
            continue
        xml = parse_xml(container.read(member), f"{name}: {member}")
        is_table = kind.paragraphs is not _PARAGRAPHS
        text = RunText(skeleton, divides_lines=is_table, kept=kept if is_table else frozenset())
        before = len(skeleton.segments)
        marked = xml.before + text.marked(xml.root, kind.paragraphs) + xml.behind
        if len(skeleton.segments) > before:
            members[member] = (xml, marked)
    return Document(
        skeleton,
        lambda fill: container.with_members(
            {member: xml.encoded(without_empty_runs(fill(marked))) for member, (xml, marked) in members.items()}
        ),
    )


def _column_names(container: ZipContainer, kinds: dict[str, str]) -> frozenset[str]:
    """Return the names of the columns of tables in a spreadsheet: their cells must say the same, and formulas do."""
    names: set[str] = set()
    for member in container.names:
        if kinds.get(member, "").endswith("spreadsheetml.table+xml"):
            root = parse_xml(container.read(member), f"{container.name}: {member}").root
            names.update(column.attributes.get("name", "") for column in root.all("tableColumn"))
    return frozenset(names)
