"""Records of a translation's journal; apart from :mod:`.journal`, for schemas take time to import."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mtmoe.system.json_files import JsonRecord

_Count = Annotated[int, Field(ge=0, le=1 << 53)]


class InputEntry(JsonRecord):
    """An input file: its lines and the hash of its content."""

    num_lines: _Count
    digest: str


class JournalEntry(JsonRecord):
    """A line of the journal.

    The first has the inputs, the outputs and everything else that the outputs depend on; each further one has how many
    lines of the input and bytes of the output are done.
    """

    input: dict[str, InputEntry] = Field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    lines: _Count = 0
    bytes: _Count = 0
    finished: bool = False
    unreadable: _Count = 0
    first_problem: str = ""
    suspicious: dict[str, _Count] = Field(default_factory=dict)
