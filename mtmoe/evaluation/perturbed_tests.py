"""Test sets as people type them: in capitals, with typos, with an address in each line, and so on.

A kind is one of ``KINDS``, or several of them joined by "+", which are made one after the other. What is drawn depends
on the seed, the kind and the line alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mtmoe.config.settings import Data
from mtmoe.data.cleaning.language_tokens import language_tokens, tokened
from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.data.perturbations.end_punctuation import without_end_punctuation
from mtmoe.data.perturbations.insertion import drawn_place, inserted
from mtmoe.data.perturbations.items import ITEM_KINDS, ItemKind, drawn_item
from mtmoe.data.perturbations.letter_case import lower_case, title_case, upper_case
from mtmoe.data.perturbations.sentences import merged
from mtmoe.data.perturbations.typos import with_typos
from mtmoe.data.random_streams import Purpose, random_stream
from mtmoe.errors import UserError

TYPO_RATE = 0.1
"""Of words, in the kind ``typos``: one in ten."""


class Line(NamedTuple):
    """One line of a test set, in normal form."""

    token: str
    """Of a multilingual model: which language to translate into; else empty."""
    source: str
    references: tuple[str, ...]
    source_language: str
    target_language: str
    item: str = ""
    """What was inserted and has to come out as it is."""


class PerturbedTest(NamedTuple):
    """A test set after a perturbation."""

    kind: str
    lines: tuple[Line, ...]
    ignores_case: bool
    """Whether it is measured without regard to case: the source's case says nothing of the reference's."""

    @property
    def source(self) -> list[str]:
        """Return what is translated."""
        return [f"{line.token} {line.source}".strip() for line in self.lines]

    @property
    def references(self) -> list[list[str]]:
        """Return the references without inserted items, as they are."""
        return [list(reference) for reference in zip(*(line.references for line in self.lines), strict=True)]


def lines_of_test(source: Sequence[str], references: Sequence[Sequence[str]], data: Data) -> tuple[Line, ...]:
    """Return the lines of a test set; ``data`` tells their languages."""
    known = language_tokens(data)
    lines = []
    for text, *translations in zip(source, *references, strict=True):
        token, plain = tokened(normalise_line(text), known)
        languages = (data.source_language, data.target_language)
        if data.multilingual is not None:  # which language the source is in, nothing tells
            languages = ("", token.removeprefix("<2").removesuffix(">"))
        lines.append(Line(token, plain, tuple(map(normalise_line, translations)), *languages))
    return tuple(lines)


def perturbed_test(kind: str, lines: Sequence[Line], seed: int) -> PerturbedTest:
    """Return the test set with the perturbations of a kind; ``"clean"`` has none.

    Raises:
        UserError: there is no such kind.
    """
    names = () if kind == "clean" else kind_names(kind)
    changed = _merged_in_twos(lines) if MERGED in names else list(lines)
    for name in names:
        if name != MERGED:
            number = zlib.crc32(name.encode())
            changed = [
                _CHANGES[name](line, random_stream(Purpose.PERTURBATION, seed, number, place))
                for place, line in enumerate(changed)
            ]
    return PerturbedTest(kind, tuple(changed), ignores_case=bool({"title", "lower"} & set(names)))


def kind_names(kind: str) -> tuple[str, ...]:
    """Return the names that a kind is made of.

    Raises:
        UserError: one of them is not known, or stands there twice; capitals and small letters exclude each other.
    """
    names = tuple(kind.split("+"))
    for name in names:
        if name not in KINDS:
            raise UserError(f"{name!r} is no kind of perturbation", fix=f"there are: all, {', '.join(KINDS)}")
    exclusive = [name for name in names if name in ("upper", "title", "lower")]
    items = [name for name in names if name in ITEM_KINDS]
    for several in (exclusive, items, names):
        if len(several) > 1 and (several is not names or len(set(names)) < len(names)):
            raise UserError(
                f"{kind!r} cannot be measured: {' and '.join(several)} exclude each other",
                fix="give them as kinds of their own, with a comma between them",
            )
    return names


def all_kinds() -> tuple[str, ...]:
    """Return what ``--perturb all`` measures: each kind, and small letters without end punctuation at once."""
    kinds = list(KINDS)
    kinds.insert(kinds.index("no-punctuation") + 1, "lower+no-punctuation")
    return tuple(kinds)


Change = Callable[[Line, np.random.Generator], Line]


def _upper(line: Line, random: np.random.Generator) -> Line:
    references = tuple(upper_case(reference, line.target_language) for reference in line.references)
    return line._replace(source=upper_case(line.source, line.source_language), references=references)


def _title(line: Line, random: np.random.Generator) -> Line:
    return line._replace(source=title_case(line.source, line.source_language))


def _lower(line: Line, random: np.random.Generator) -> Line:
    return line._replace(source=lower_case(line.source, line.source_language))


def _no_punctuation(line: Line, random: np.random.Generator) -> Line:
    return line._replace(source=without_end_punctuation(line.source))


def _typos(line: Line, random: np.random.Generator) -> Line:
    return line._replace(source=with_typos(line.source, TYPO_RATE, random, line.source_language))


def _inserting(kind: ItemKind) -> Change:
    def with_item(line: Line, random: np.random.Generator) -> Line:
        item = drawn_item(kind, random)
        place = drawn_place(line.source, random, may_join=kind == "tag")
        return line._replace(source=inserted(line.source, item, place), item=item)

    return with_item


_CHANGES: dict[str, Change] = {
    "upper": _upper,
    "title": _title,
    "lower": _lower,
    "no-punctuation": _no_punctuation,
    "typos": _typos,
    **{kind: _inserting(kind) for kind in ITEM_KINDS},
}
MERGED = "merged"
"""The kind that makes one line of two, before all others."""
KINDS = (*_CHANGES, MERGED)


def _merged_in_twos(lines: Iterable[Line]) -> list[Line]:
    """Merge every other line with the one behind it; those of other languages, and a last one, stay alone."""
    found: list[Line] = []
    waiting: Line | None = None
    for line in lines:
        if waiting is None:
            waiting = line
        elif waiting.token != line.token:
            found.append(waiting)
            waiting = line
        else:
            found.append(_merged(waiting, line))
            waiting = None
    return [*found, waiting] if waiting is not None else found


def _merged(first: Line, second: Line) -> Line:
    references = (
        merged(one, other, first.target_language)
        for one, other in zip(first.references, second.references, strict=True)
    )
    source = merged(first.source, second.source, first.source_language)
    return first._replace(source=source, references=tuple(references))
