"""What is asked of a translator for one line."""

from __future__ import annotations

from typing import NamedTuple


class Request(NamedTuple):
    """One line to translate.

    text: the source. prefix: how the translation must begin. phrases: target phrases that must appear in it (hard
    constraints). number: of the line, from 0, over all of the input: the draw of a sampled translation depends on it
    and on the seed alone.
    """

    text: str
    prefix: str = ""
    phrases: tuple[str, ...] = ()
    number: int = 0
