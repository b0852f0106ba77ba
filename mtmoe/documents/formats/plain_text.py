"""Plain text: each line is a segment; of a server, for `mtmoe translate` reads lines as lines."""

from __future__ import annotations

from mtmoe.documents.decoding import decode_text
from mtmoe.documents.document import Document, DocumentOptions, Skeleton
from mtmoe.documents.tagged_strings import marked_string


def read(content: bytes, name: str, options: DocumentOptions) -> Document:
    """Read a text.

    Raises:
        UserError: it is of another encoding than UTF-8.
    """
    decoded = decode_text(content, name)
    skeleton = Skeleton(options)
    marked = marked_string(decoded.text, skeleton)
    return Document(skeleton, lambda fill: decoded.encoded(fill(marked)))
