"""Made-up translations with alignments that are known: in order, turned round, mixed, longer, shorter, without."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from mtmoe.documents.document import Document
from mtmoe.documents.tokens import LineTranslation

Translate = Callable[[str], LineTranslation]


def as_it_is(line: str) -> LineTranslation:
    """Return the line itself."""
    words = line.split()
    return LineTranslation(" ".join(words), tuple((place, place) for place in range(len(words))))


def turned_round(line: str) -> LineTranslation:
    """Return the words of a line in capitals, the last one first."""
    words = [word.upper() for word in line.split()]
    return LineTranslation(" ".join(words[::-1]), tuple((len(words) - 1 - place, place) for place in range(len(words))))


def mixed(line: str) -> LineTranslation:
    """Return the words in another order, some of them as two words or none, with links that are partly missing."""
    draws = random.Random(line)
    order = list(range(len(line.split())))
    draws.shuffle(order)
    words: list[str] = []
    links: list[tuple[int, int]] = []
    for place in order:
        for _ in range(draws.choice((1, 1, 1, 1, 2, 0))):
            if draws.random() < 0.9:
                links.append((place, len(words)))
            words.append(line.split()[place].swapcase() + draws.choice(("", "", "", ",", " !")))
            if words[-1].endswith(" !"):
                words[-1:] = words[-1].split()
    return LineTranslation(" ".join(words), tuple(links))


def without_links(line: str) -> LineTranslation:
    """Return the line without an alignment."""
    return LineTranslation(line.swapcase())


def nothing(line: str) -> LineTranslation:
    """Return an empty translation."""
    return LineTranslation("")


def with_signs(line: str) -> LineTranslation:
    """Return a translation that has what markup is made of, and wrong links."""
    return LineTranslation(f"<b> & {line} </x> ]]> \" ' ", ((0, 0), (99, 1), (1, 99), (-1, 2), (0, 3)))


TRANSLATIONS: tuple[Translate, ...] = (as_it_is, turned_round, mixed, without_links, with_signs, nothing)


def translated(document: Document, translate: Translate) -> bytes:
    """Return the document with its lines translated one by one."""
    first = [translate(line) for line in document.lines]
    return document.content(first, [translate(line) for line in document.second_lines(first)])


def all_translated(document: Document, translations: Sequence[Translate] = TRANSLATIONS) -> list[bytes]:
    """Return a document in all translations."""
    return [translated(document, translate) for translate in translations]
