"""Requests to a translator: which runs translate together, and what a line is to have."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Member(NamedTuple):
    """A run that translates together with others, and its weight, in any scale: the first run has 1."""

    run: Path
    weight: float = 1.0


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
