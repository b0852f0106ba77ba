"""CSV: cells with text are translated; the first row, which names the columns, stays."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import NamedTuple

from mtmoe.documents.decoding import decode_text
from mtmoe.documents.document import Document, DocumentOptions, Skeleton
from mtmoe.documents.tagged_strings import marked_string
from mtmoe.errors import UserError

_SEPARATORS = ",;\t|"


class _Cell(NamedTuple):
    """A cell as it is written, and what is written behind it: a separator, a line end or nothing."""

    raw: str
    behind: str


def read(content: bytes, name: str, options: DocumentOptions) -> Document:
    """Read a table.

    Raises:
        UserError: it is of another encoding, quotation marks are not closed, or there is no such column.
    """
    decoded = decode_text(content, name)
    separator = _separator(decoded.text)
    skeleton = Skeleton(options)
    parts: list[str] = []
    row, column, most_columns = 0, 1, 0
    for cell in _cells(decoded.text, separator, name):
        is_wanted = row > 0 and column == (options.column or column)
        parts += [_marked(cell.raw, separator, skeleton) if is_wanted else cell.raw, cell.behind]
        most_columns = max(most_columns, column)
        row, column = (row, column + 1) if cell.behind == separator else (row + 1, 1)
    if (options.column or 1) > max(most_columns, 1):
        raise UserError(
            f"{name}: there is no column {options.column}, only {most_columns}", fix="give another --column"
        )
    marked = "".join(parts)
    return Document(skeleton, lambda fill: decoded.encoded(fill(marked)))


def _separator(text: str) -> str:
    """Return what stands between the cells: the sign that the first row has most of, outside of quotation marks."""
    first = re.sub(r'"(?:[^"]|"")*"', "", text[:65_536]).partition("\n")[0]
    return max(_SEPARATORS, key=lambda sign: (first.count(sign), -_SEPARATORS.index(sign)))


def _cells(text: str, separator: str, name: str) -> Iterator[_Cell]:
    """Yield all cells; together they are the text.

    Raises:
        UserError: a quotation mark is not closed.
    """
    cell = re.compile(
        rf'("(?:[^"]|"")*+"[^{re.escape(separator)}\r\n]*|[^"{re.escape(separator)}\r\n][^{re.escape(separator)}\r\n]*|)(\r\n|\n|\r|{re.escape(separator)}|\Z)'
    )
    place = 0
    while place < len(text):
        match = cell.match(text, place)
        if match is None:
            line = text.count("\n", 0, place) + 1
            raise UserError(f"{name}:{line}: a quotation mark is not closed", fix="repair the table")
        yield _Cell(match[1], match[2])
        place = match.end()


def _marked(raw: str, separator: str, skeleton: Skeleton) -> str:
    is_quoted = raw.startswith('"')
    value = next(csv.reader(io.StringIO(raw, newline=""), delimiter=separator), [""])[0] if is_quoted else raw

    def escaped(text: str) -> str:
        return text.replace('"', '""')

    before = len(skeleton.segments)
    marked = marked_string(value, skeleton, escaped)
    # In quotation marks also where there were none: who knows what a translation has in it.
    return f'"{marked}"' if len(skeleton.segments) > before else raw
