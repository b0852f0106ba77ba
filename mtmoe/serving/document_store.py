"""Documents of a server: those that are being translated, and translations that wait to be fetched; all in memory."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import Awaitable
from pathlib import PurePath
from typing import Literal

from mtmoe.documents.registry import DOCUMENT_FORMATS, PLAIN_TEXT, DocumentFormat, format_of
from mtmoe.errors import UserError
from mtmoe.serving.refusal import Refusal

KEPT_SECONDS = 3600.0
_MOST_DOCUMENTS = 64
_MOST_AT_WORK = 8
_MOST_BYTES = 1 << 28

Status = Literal["translating", "done", "error"]


class StoredDocument:
    """A document and what has become of it. suffix: of its file name, such as ``.docx``."""

    def __init__(self, key: str, suffix: str, format: DocumentFormat, num_bytes: int) -> None:
        self.key, self.suffix, self.format = key, suffix, format
        self.num_bytes = num_bytes
        self.begun = time.monotonic()
        self.status: Status = "translating"
        self.message = ""
        self.content = b""
        self.task: asyncio.Task[None] | None = None


class DocumentStore:
    """Keeps documents for an hour, and a bounded number of them."""

    def __init__(self) -> None:
        self._documents: dict[str, StoredDocument] = {}

    def start(
        self, translating: Awaitable[bytes], suffix: str, format: DocumentFormat, num_bytes: int
    ) -> tuple[str, StoredDocument]:
        """Take in a document that is being translated; return its id.

        Raises:
            Refusal: there are too many.
        """
        self.check_room(num_bytes)
        number = secrets.token_hex(16)
        document = StoredDocument(secrets.token_hex(32), suffix, format, num_bytes)
        document.task = asyncio.ensure_future(_followed(translating, document))
        self._documents[number] = document
        return number, document

    def add(self, content: bytes, suffix: str, format: DocumentFormat) -> str:
        """Take in a translation that is done; return its id.

        Raises:
            Refusal: there are too many.
        """
        self.check_room(len(content))
        number = secrets.token_hex(16)
        document = StoredDocument("", suffix, format, len(content))
        document.status, document.content = "done", content
        self._documents[number] = document
        return number

    def check_room(self, num_bytes: int) -> None:
        """Raise a refusal if there is no room for another document."""
        oldest = time.monotonic() - KEPT_SECONDS
        for number in [number for number, each in self._documents.items() if each.begun < oldest]:
            self._remove(number)
        documents = self._documents.values()
        is_full = (
            len(documents) >= _MOST_DOCUMENTS
            or sum(each.status == "translating" for each in documents) >= _MOST_AT_WORK
            or sum(max(each.num_bytes, len(each.content)) for each in documents) + num_bytes > _MOST_BYTES
        )
        if is_full:
            raise Refusal(429, "too many documents wait to be translated or fetched", retry_after_seconds=30)

    def find(self, number: str, key: str | None = None) -> StoredDocument:
        """Return a document; key: that was given for it, where one was.

        Raises:
            Refusal: there is none, or the key is another one.
        """
        document = self._documents.get(number)
        is_known = document is not None and (key is None) == (not document.key)
        if document is None or not is_known or not hmac.compare_digest(document.key, key or ""):
            raise Refusal(404, "there is no such document, or it was fetched already")
        return document

    def _remove(self, number: str) -> None:
        document = self._documents.pop(number)
        if document.task is not None:
            document.task.cancel()

    def fetched(self, number: str) -> None:
        """Forget a document that was sent."""
        self._remove(number)


async def _followed(translating: Awaitable[bytes], document: StoredDocument) -> None:
    try:
        document.content = await translating
        document.status = "done"
    except Refusal as refusal:
        document.status, document.message = "error", refusal.message
    except Exception as error:
        document.status, document.message = "error", f"the server made a mistake ({type(error).__name__})"


def format_of_upload(name: str, content: bytes) -> tuple[str, DocumentFormat]:
    """Return the ending of a file's name and its format.

    Raises:
        Refusal: no known format.
    """
    suffix = PurePath(name).suffix.lower()
    try:
        found = PLAIN_TEXT if suffix in PLAIN_TEXT.suffixes else format_of(name, content)
    except UserError as error:
        raise Refusal(400, error.problem) from None
    if found is None:
        raise Refusal(400, f"files of this kind are not translated; there is {', '.join(supported_suffixes())}")
    return (suffix if suffix in found.suffixes else found.suffixes[0]), found


def supported_suffixes() -> list[str]:
    """Return the endings of names of files that are translated."""
    return [suffix for each in (PLAIN_TEXT, *DOCUMENT_FORMATS.values()) for suffix in each.suffixes]
