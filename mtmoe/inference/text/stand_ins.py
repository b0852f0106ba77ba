"""Stand-ins: names and numbers that the model copies stand for placeholders which a sentence needs.

"is my friend." is no sentence, so what is left of "{name} is my friend." is translated badly. "Tom is my friend." is
one. Where a placeholder takes the place of a word, a name that the model has learned to copy stands there while the
line is translated, and a number for what counts. An item that was put beside a sentence leaves no such hole, and gets
none. Where the model does not write a stand-in just once, the line is translated again without.

Letters: V vocabulary, C candidates of a source subword.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import regex

from mtmoe.checkpoint import ModelSource
from mtmoe.data.prepared.lexicon import LEXICON_NAME, Lexicon, parse_lexicon
from mtmoe.data.prepared.source_words import SOURCE_WORDS_NAME, parse_source_words
from mtmoe.data.subwords.sentencepiece_model import SubwordModel

_MARK = "\u2581"
_FEWEST_TIMES = 20
"""That a name stands in the training text, so that the model has surely learned to copy it."""
_MOST_NAMES = 8
_NUMBERS = ("27", "38", "46", "53", "64", "79", "85", "92")

KINDS_OF_NAMES = frozenset({"urls", "emails", "braces", "printf"})
"""Kinds of items that may take the place of a word."""

_COUNTS = regex.compile(
    r"(?i)(?<![a-z])(?:n|nr|no|num|number|count|counter|total|amount|size|length|quantity|qty|percent|percentage|age|"
    r"years?|days?|hours?|minutes?|seconds?|min|max|limit|index|pages?)(?![a-z])"
)
_NUMBER_FORMATS = "diouxXeEfFgG"
_HAS_NAME = regex.compile(r"\p{L}{2}")
_GOES_ON = regex.compile(r" \p{Ll}")
_WORD_BEFORE = regex.compile(r"[\p{L}\p{M}\p{N}] $")
_END = regex.compile(r"[.!?…]?[\"'”»)]*")
_NO_WORD = regex.compile(r"[\p{P}\p{S}\s]*")


class Item(NamedTuple):
    """Something in a line that passes through: its kind, and from where to where in the line it is."""

    kind: str
    begin: int
    end: int


def stand_ins(line: str, items: Sequence[Item], names: Sequence[str], first: int = 0) -> list[str]:
    """Return what stands for each item of a line; empty where nothing does.

    A line needs stand-ins if it begins with a name's place and goes on in small letters ("{name} is ..."), or ends in
    one without a sign before it ("... to {name}."). Then all its names and numbers have one, each another.

    Args:
        names: those that the model copies.
        first: characters before the sentence, such as a language token.
    """
    meanings = [_meaning(item.kind, line[item.begin : item.end]) for item in items]
    known = [item for item, meaning in zip(items, meanings, strict=True) if meaning != "unknown"]
    is_needed = any(_takes_a_place(line, item, first) for item in known)
    if not is_needed:
        return [""] * len(items)
    folded = line.casefold()
    left: dict[str, Iterator[str]] = {
        "name": (name for name in names if name.casefold() not in folded),
        "number": (number for number in _NUMBERS if number not in line),
        "unknown": iter(()),
    }
    return [next(left[meaning], "") for meaning in meanings]


def _meaning(kind: str, text: str) -> Literal["name", "number", "unknown"]:
    """Return what an item is, as far as its text tells: ``{0}`` may be anything."""
    if kind in ("urls", "emails"):
        return "name"
    if kind == "printf":
        return "number" if text[-1] in _NUMBER_FORMATS else "name" if text[-1] in "sS@" else "unknown"
    if kind != "braces" or not _HAS_NAME.search(text) or text.startswith("{%"):
        return "unknown"
    return "number" if _COUNTS.search(text.replace("_", " ")) else "name"


def _takes_a_place(line: str, item: Item, first: int) -> bool:
    before, behind = line[first : item.begin], line[item.end :]
    is_subject = _NO_WORD.fullmatch(before) is not None and _GOES_ON.match(behind) is not None
    return is_subject or (_WORD_BEFORE.search(before) is not None and _END.fullmatch(behind) is not None)


def copied_names(source: ModelSource, subwords: SubwordModel) -> tuple[str, ...]:
    """Return names that a model copies, the most frequent first: subwords that are words with a capital and never
    without, stand in the source text often enough, and of which the likeliest translation is the same.

    None where the model has no lexicon or no list of source words.

    Raises:
        UserError: one of these files is damaged.
    """
    lexicon, words = source.read(LEXICON_NAME), source.read(SOURCE_WORDS_NAME)
    if lexicon is None or words is None:
        return ()
    return names_among(
        parse_source_words(words, source.shown(SOURCE_WORDS_NAME)),
        parse_lexicon(lexicon, source.shown(LEXICON_NAME), subwords.size),
        subwords,
    )


def names_among(counts: Mapping[str, int], lexicon: Lexicon, subwords: SubwordModel) -> tuple[str, ...]:
    """Return :func:`copied_names` of a text's words and their numbers.

    Args:
        counts: the most frequent word first.
    """
    ids = {piece: number for number, piece in enumerate(subwords.pieces)}
    found: list[str] = []
    for word, times in counts.items():
        if times < _FEWEST_TIMES or len(found) == _MOST_NAMES:
            break
        subword = ids.get(f"{_MARK}{word}")
        is_name = len(word) > 2 and word.istitle() and word.isalpha() and word.lower() not in counts
        if subword is not None and is_name and lexicon.candidates_VC[subword][:1].tolist() == [subword]:
            found.append(word)
    return tuple(found)
