"""CSV: cells with text are translated; the first row, which names the columns, stays."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from mtmoe.documents.decoding import DecodedStream
from mtmoe.documents.document import Document, DocumentOptions, Pieces, PieceSize, Skeleton
from mtmoe.documents.tagged_strings import marked_string
from mtmoe.errors import UserError

_SEPARATORS = ",;\t|"
_MOST_CELL_CHARACTERS = 1 << 24


class _Cell(NamedTuple):
    """A cell as it is written, and what is written behind it: a separator, a line end or nothing."""

    raw: str
    behind: str


def read_pieces(
    stream: BinaryIO, name: str, options: DocumentOptions, size: PieceSize | None = None
) -> Iterator[Document]:
    """Read a table, some rows at a time.

    Raises:
        UserError: it is of another encoding, quotation marks are not closed, or there is no such column.
    """
    decoded = DecodedStream(stream, name)
    texts = decoded.texts()
    first = next(texts)
    separator = _separator(first)
    pieces = Pieces(options, lambda text, is_first: decoded.encoded(text, is_first=is_first), size)
    row, column, most_columns = 0, 1, 0
    for cell in _cells(itertools.chain([first], texts), separator, name):
        is_wanted = row > 0 and column == (options.column or column)
        pieces.add(_marked(cell.raw, separator, pieces.skeleton) if is_wanted else cell.raw)
        pieces.add(cell.behind)
        most_columns = max(most_columns, column)
        row, column = (row, column + 1) if cell.behind == separator else (row + 1, 1)
        if column == 1 and pieces.is_full:
            yield pieces.cut()
    if (options.column or 1) > max(most_columns, 1):
        raise UserError(
            f"{name}: there is no column {options.column}, only {most_columns}", fix="give another --column"
        )
    yield pieces.cut()


def _separator(text: str) -> str:
    """Return what stands between the cells: the sign that the first row has most of, outside of quotation marks."""
    first = re.sub(r'"(?:[^"]|"")*"', "", text[:65_536]).partition("\n")[0]
    return max(_SEPARATORS, key=lambda sign: (first.count(sign), -_SEPARATORS.index(sign)))


def _cells(texts: Iterator[str], separator: str, name: str) -> Iterator[_Cell]:
    """Yield all cells; together they are the text.

    Raises:
        UserError: a quotation mark is not closed.
    """
    cell = re.compile(
        rf'("(?:[^"]|"")*+"[^{re.escape(separator)}\r\n]*|[^"{re.escape(separator)}\r\n][^{re.escape(separator)}\r\n]*|)(\r\n|\n|\r|{re.escape(separator)}|\Z)'
    )
    text, num_lines = "", 0
    while True:
        more = list(_taken(texts, max(len(text), 1)))  # twice as much each time that a cell is not all there
        text += "".join(more)
        place = 0
        while place < len(text):
            match = cell.match(text, place)
            # What ends with what was read so far may go on: a cell, a line end of two signs, a quotation mark.
            if match is None or (match.end() == len(text) and more):
                break
            yield _Cell(match[1], match[2])
            place = match.end()
        num_lines += text.count("\n", 0, place)
        text = text[place:]
        if not more:
            break
        if len(text) > _MOST_CELL_CHARACTERS:
            raise UserError(
                f"{name}:{num_lines + 1}: a cell has more than {_MOST_CELL_CHARACTERS:,} characters",
                fix="look whether a quotation mark is not closed",
            )
    if text:
        raise UserError(f"{name}:{num_lines + 1}: a quotation mark is not closed", fix="repair the table")


def _taken(texts: Iterator[str], fewest_characters: int) -> Iterator[str]:
    """Yield texts until there are so many characters, or no more."""
    num_characters = 0
    while num_characters < fewest_characters and (text := next(texts, None)) is not None:
        num_characters += len(text)
        yield text


def _marked(raw: str, separator: str, skeleton: Skeleton) -> str:
    is_quoted = raw.startswith('"')
    value = next(csv.reader(io.StringIO(raw, newline=""), delimiter=separator), [""])[0] if is_quoted else raw

    def escaped(text: str) -> str:
        return text.replace('"', '""')

    before = len(skeleton.segments)
    marked = marked_string(value, skeleton, escaped)
    # In quotation marks also where there were none: who knows what a translation has in it.
    return f'"{marked}"' if len(skeleton.segments) > before else raw
