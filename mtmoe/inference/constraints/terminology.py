"""Terminology: a list of terms and how each is to be translated.

A term is found in a line as whole words, a word being letters, digits, marks and low lines in a row; in languages that
are written without spaces it is found anywhere. A source term without capitals is found in any case ("station" in
"Station" and "STATION"), one with a capital only as it is written ("Apple"). Of terms that overlap the one that begins
first counts, of these the longest, of these the one in the case of the line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.data.raw.lines import decode_line, open_text_lines
from mtmoe.errors import UserError
from mtmoe.inference.constraints.phrases import is_of_word


class Term(NamedTuple):
    """Source and target in the normal form of a line."""

    source: str
    target: str


class Terminology:
    """Terms, ready to be found. It can be pickled."""

    def __init__(self, terms: Iterable[Term]) -> None:
        self.terms = tuple(terms)
        # By the first word, and by the first character for languages without spaces.
        self._by_first: dict[bool, dict[str, list[Term]]] = {True: {}, False: {}}
        for term in sorted(self.terms, key=lambda term: (-len(term.source), term.source == term.source.lower())):
            for apart, by_first in self._by_first.items():
                begin, end = next(_words(term.source, apart=apart))
                by_first.setdefault(term.source[begin:end].lower(), []).append(term)

    @property
    def digest(self) -> str:
        """Return a hash of all terms in their order."""
        return hashlib.blake2b(repr(self.terms).encode(), digest_size=16).hexdigest()

    def found(self, text: str, *, apart: bool = True) -> tuple[Term, ...]:
        """Return the terms in a line in normal form, each once, in the order of the line.

        ``apart``: whether words are divided by spaces.
        """
        return tuple(dict.fromkeys(term for term, _ in self.places(text, apart=apart)))

    def places(self, text: str, *, apart: bool = True) -> Iterator[tuple[Term, int]]:
        """Yield the terms in a line as often as they occur, each with the place of its first character."""
        words = list(_words(text, apart=apart))
        ends = {end for _, end in words}
        behind = 0
        for begin, end in words:
            if begin < behind:
                continue
            for term in self._by_first[apart].get(text[begin:end].lower(), ()):
                if begin + len(term.source) in ends and _is_there(term.source, text, begin):
                    yield term, begin
                    behind = begin + len(term.source)
                    break


def read_terms(path: Path) -> Terminology:
    """Read terms from a plain or compressed TSV file: source term, tab, target term. Blank lines are left out.

    Raises:
        UserError: naming file and line: not two columns, a blank one, or a source term with two translations.
    """
    terms: dict[str, tuple[str, int]] = {}
    for number, content in enumerate(open_text_lines(path), start=1):
        line = decode_line(content, path, number)
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        columns = [normalise_line(column) for column in line.split("\t")]
        if len(columns) != 2 or not all(columns):
            what = f"has {len(columns)} columns" if len(columns) != 2 else "has a blank column"
            raise UserError(f"{where}: {what}, but a term has two", fix="write: source term, tab, target term")
        source, target = columns
        before, first = terms.setdefault(source, (target, number))
        if before != target:
            raise UserError(
                f"{where}: {source!r} is {target!r} here, but {before!r} in line {first}", fix="leave one of them"
            )
    if not terms:
        raise UserError(f"{path}: has no terms", fix="write one a line: source term, tab, target term")
    return Terminology(Term(source, target) for source, (target, _) in terms.items())


def _is_there(term: str, text: str, begin: int) -> bool:
    there = text[begin : begin + len(term)]
    return there == term or (term == term.lower() and there.lower() == term)


def _words(text: str, *, apart: bool) -> Iterator[tuple[int, int]]:
    """Yield where words begin and end. Signs are words of one character; so is everything if words are not apart."""
    begin = 0
    while begin < len(text):
        end = begin + 1
        if apart and is_of_word(text[begin]):
            while end < len(text) and is_of_word(text[end]):
                end += 1
        if text[begin] != " ":
            yield begin, end
        begin = end
