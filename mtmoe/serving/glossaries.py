"""Glossaries: how terms are to be translated, made by clients, kept one a file in a directory.

A glossary is never changed, only made and deleted. Its file is JSON, named by its id, written whole or not at all.
Where keys are asked for, each belongs to the name of the key that made it: others neither see nor use it.
"""

from __future__ import annotations

import csv
import datetime
import functools
import io
import re
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.errors import UserError
from mtmoe.inference.constraints.terminology import Term, Terminology
from mtmoe.languages import covers
from mtmoe.serving.refusal import Refusal
from mtmoe.system.atomic_files import make_directory, write_atomically
from mtmoe.system.json_files import JsonRecord, read_json

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FORMAT_VERSION = 1
_MOST_GLOSSARIES = 1000
_LONGEST_NAME = 1024
_QUOTA_EXCEEDED = 456  # as DeepL says it

EntriesFormat = Literal["tsv", "csv"]


class Glossary(JsonRecord):
    """A glossary, as it stands in its file."""

    format_version: int = _FORMAT_VERSION
    glossary_id: str
    name: str
    source: str
    """Normal code of the language, such as en."""
    target: str
    creation_time: str
    """In UTC, as ISO 8601 has it."""
    owner: str = ""
    """The name of a key; empty where none was asked for."""
    entries: tuple[tuple[str, str], ...]
    """Source term and its translation, in normal form."""

    @functools.cached_property
    def terms(self) -> Terminology:
        """Return the entries, ready to be found in lines."""
        return Terminology(Term(*entry) for entry in self.entries)

    def is_for(self, source: str, target: str) -> bool:
        """Return whether texts of these languages can be translated with it; it is of no region."""
        return covers(self.source, source) and covers(self.target, target)


class Glossaries:
    """All glossaries of a server; several threads may ask."""

    def __init__(self, directory: Path | None) -> None:
        """Read those that are in a directory; None: there are none, and none can be made.

        Raises:
            UserError: a file in it is no glossary.
            OSError: the directory cannot be made or read.
        """
        self._directory = directory
        self._by_id: dict[str, Glossary] = {}
        self._lock = threading.Lock()
        if directory is None:
            return
        make_directory(directory)
        for path in sorted(directory.glob("*.json")):
            found = read_json(
                path, Glossary, fix=f"remove {path}, or make the glossary anew", format_version=_FORMAT_VERSION
            )
            if path.stem != found.glossary_id or not _ID.fullmatch(path.stem):
                raise UserError(f"{path}: has the glossary {found.glossary_id}", fix="name it by its id, or remove it")
            self._by_id[path.stem] = found

    def of(self, owner: str) -> list[Glossary]:
        """Return the glossaries of an owner, oldest first."""
        with self._lock:
            found = [glossary for glossary in self._by_id.values() if glossary.owner == owner]
        return sorted(found, key=lambda glossary: (glossary.creation_time, glossary.glossary_id))

    def get(self, glossary_id: str, owner: str) -> Glossary:
        """Return a glossary.

        Raises:
            Refusal: the owner has none with that id (404).
        """
        with self._lock:
            found = self._by_id.get(glossary_id)
        if found is None or found.owner != owner:
            raise Refusal(404, f"there is no glossary {glossary_id[:40]!r}")
        return found

    def make(self, name: str, source: str, target: str, entries: Sequence[tuple[str, str]], owner: str) -> Glossary:
        """Make a glossary, which is on disk when this returns.

        Args:
            source, target: normal codes.
            entries: as :func:`parse_entries` gives them.

        Raises:
            Refusal: no name, too many glossaries (456), or glossaries are not kept here.
            OSError: it cannot be written.
        """
        directory = self._kept_in()
        if not name.strip() or len(name) > _LONGEST_NAME:
            raise Refusal(400, f"name: a glossary has a name of 1 to {_LONGEST_NAME} characters")
        made = Glossary(
            glossary_id=str(uuid.uuid4()),
            name=name,
            source=source,
            target=target,
            creation_time=datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds"),
            owner=owner,
            entries=tuple(entries),
        )
        with self._lock:
            if len(self._by_id) >= _MOST_GLOSSARIES:
                raise Refusal(_QUOTA_EXCEEDED, f"{_MOST_GLOSSARIES} glossaries are the most; delete one first")
            write_atomically(directory / f"{made.glossary_id}.json", made.model_dump_json(indent=1).encode())
            self._by_id[made.glossary_id] = made
        return made

    def delete(self, glossary_id: str, owner: str) -> None:
        """Delete a glossary; texts at work keep it.

        Raises:
            Refusal: the owner has none with that id (404).
            OSError: its file cannot be removed.
        """
        found, directory = self.get(glossary_id, owner), self._kept_in()
        with self._lock:
            (directory / f"{found.glossary_id}.json").unlink(missing_ok=True)
            self._by_id.pop(found.glossary_id, None)

    def _kept_in(self) -> Path:
        if self._directory is None:
            raise Refusal(400, "glossaries are not kept by this server: it was started without --glossaries DIR")
        return self._directory


def parse_entries(text: str, kind: EntriesFormat) -> list[tuple[str, str]]:
    """Return the entries of a table: source term, its translation, and in CSV perhaps the codes of both languages.

    Raises:
        Refusal: naming the line: other columns, a blank one, a source term that stands twice; or there are none.
    """
    rows: list[list[str]]
    if kind == "tsv":
        rows = [line.split("\t") for line in re.split(r"\r\n|\n|\r", text)]
    else:
        try:
            rows = list(csv.reader(io.StringIO(text), strict=True))
        except csv.Error as error:
            raise Refusal(400, f"entries: no CSV: {error}") from None
    numbers_of_columns = (2,) if kind == "tsv" else (2, 4)
    for number, row in enumerate(rows, start=1):
        if any(row) and len(row) not in numbers_of_columns:
            raise Refusal(400, f"entries, line {number}: has {len(row)} columns, but an entry has 2")
    return checked_entries([(number, row[0], row[1]) for number, row in enumerate(rows, start=1) if any(row)])


def checked_entries(numbered: Sequence[tuple[int, str, str]]) -> list[tuple[str, str]]:
    """Return entries in normal form.

    Args:
        numbered: the number of each, its source term and translation.

    Raises:
        Refusal: naming the entry: a blank side, a source term that stands twice; or there are none.
    """
    found: dict[str, str] = {}
    for number, *sides in numbered:
        source, target = map(normalise_line, sides)
        if not source or not target:
            raise Refusal(400, f"entries, line {number}: a side is blank")
        if source in found:
            raise Refusal(400, f"entries, line {number}: {source!r} stands twice")
        found[source] = target
    if not found:
        raise Refusal(400, "entries: there are none")
    return list(found.items())
