"""Requests to a translator: which runs translate together, what a line is to have, and what is wanted of it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mtmoe.inference.constraints.terminology import Terminology


class Member(NamedTuple):
    """A run that translates together with others, and its weight, in any scale: the first run has 1."""

    run: Path
    weight: float = 1.0


class Request(NamedTuple):
    """One line to translate.

    text: the source. prefix: how the translation must begin. phrases: target phrases that must appear in it (hard
    constraints). number: of the line, from 0, over all of the input: the draw of a sampled translation depends on it
    and on the seed alone. terms: how terms of this line are to be translated, in place of the translator's own.
    """

    text: str
    prefix: str = ""
    phrases: tuple[str, ...] = ()
    number: int = 0
    terms: Terminology | None = None


class Wanted(NamedTuple):
    """What is wanted of a translation: arguments of :meth:`mtmoe.Translator.translate`."""

    num_best: int = 1
    with_alignment: bool = False
    with_scores: bool = False
