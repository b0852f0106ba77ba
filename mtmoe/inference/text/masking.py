"""Masking: items that a model need not read, such as web addresses, are cut out of a source before it is translated.

What is left is text as the model knows it. :mod:`mtmoe.inference.text.unmasking` puts the items back into the
translation. An item that stands where a name could stand is worth a place in the sentence, which a hole is not: but a
hole costs nothing where the item stands beside a sentence, and a model that attends to the words around it tells where
it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from mtmoe.inference.text.spelling import as_spelt

CLOSING = ".,;:!?…)]}»”’。，、；：！？）】」』"
"""Signs that stand behind a word without a space in most languages."""
OPENING = "([{«“‘¿¡（【「『"
"""Signs that stand before a word without a space."""
_TAG = re.compile(r"<(/?)\s*([\w:.-]+)[^<>]*?(/?)>", re.DOTALL)
_VOID = frozenset({"br", "hr", "img", "input", "wbr", "x"})
_WORD = re.compile(r"\S+")
_HAS_WORD = re.compile(r"\w")


class Span(NamedTuple):
    """An item in a line: from the character ``begin`` up to ``end``. is_tag: markup, which belongs to a word beside
    it. stand_in: a word that takes its place; empty where it leaves a hole."""

    begin: int
    end: int
    is_tag: bool = False
    stand_in: str = ""


class MaskedItem(NamedTuple):
    """An item that was cut out.

    place: characters of the masked text before it, or before its stand-in. first_word: number, in the whole line, of
    the word that it begins in. is_joined, goes_on: whether it had no white space before and behind it. partner: index,
    among the items of the line, of the other tag of its pair; -1 if it has none. stand_in: the word in its place; empty
    where there is a hole.
    """

    text: str
    place: int
    first_word: int = 0
    is_joined: bool = False
    goes_on: bool = False
    is_tag: bool = False
    partner: int = -1
    stand_in: str = ""


class MaskedText(NamedTuple):
    """A line without its items. word_numbers: of each word that is left, its number in the whole line; empty where
    nothing was cut out. kept_whole: texts that are left and into which nothing is put."""

    text: str
    items: tuple[MaskedItem, ...] = ()
    word_numbers: tuple[int, ...] = ()
    kept_whole: tuple[str, ...] = ()

    @property
    def has_words(self) -> bool:
        """Return whether anything is left that can be translated."""
        return _HAS_WORD.search(self.text) is not None


def stand_in_pattern(item: MaskedItem) -> re.Pattern[str]:
    """Return an expression that finds the stand-in of an item as a word."""
    return re.compile(rf"(?<!\w){re.escape(item.stand_in)}(?!\w)")


def masked(text: str, spans: Sequence[Span]) -> MaskedText:
    """Cut the spans out of a line in normal form; the rest is in normal form, too.

    Args:
        spans: in their order; they do not overlap.
    """
    rest = ""
    items: list[MaskedItem] = []
    begins: list[tuple[int, int]] = []  # of pieces of the rest: in it, and in the line
    number_of_word = _number_of_word(text)
    end = 0
    for span in _merged(spans):
        begins.append((len(rest), end))
        rest += text[end : span.begin]
        end = span.end
        is_joined = span.begin > 0 and text[span.begin - 1] != " "
        goes_on = end < len(text) and text[end] != " "
        word = number_of_word[span.begin]
        item = MaskedItem(text[span.begin : span.end], 0, word, is_joined, goes_on, span.is_tag, stand_in=span.stand_in)
        if span.stand_in:
            items.append(item._replace(place=len(rest)))
            begins.append((len(rest), span.begin))
            rest += span.stand_in
        else:
            rest, end = _closed_up(rest, text, end, is_tag=span.is_tag)
            _keep_inside(items, len(rest))
            items.append(item._replace(place=len(rest)))
    begins.append((len(rest), end))
    rest += text[end:]
    return MaskedText(rest, tuple(_paired(items)), _word_numbers(rest, number_of_word, begins))


def _number_of_word(text: str) -> list[int]:
    """Return, of each character, the number of the word that it is in, or of the next one."""
    words = as_spelt(text)
    begins = [sign != " " and (not place or words[place - 1] == " ") for place, sign in enumerate(words)]
    return [number - (sign != " ") for number, sign in zip(accumulate(begins), words, strict=True)]


def _keep_inside(items: list[MaskedItem], length: int) -> None:
    """Move items that stand behind the end of the rest to it, as its last space is gone."""
    for number in reversed(range(len(items))):
        if items[number].place <= length:
            break
        items[number] = items[number]._replace(place=length)


def _word_numbers(rest: str, number_of_word: Sequence[int], begins: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Return the number in the whole line of each word of the rest: of the word that its first character is in.

    Args:
        number_of_word: of each character of the line.
        begins: of pieces of the rest, in it and in the line.
    """
    numbers = []
    piece = 0
    for word in _WORD.finditer(as_spelt(rest)):
        while piece + 1 < len(begins) and begins[piece + 1][0] <= word.start():
            piece += 1
        in_rest, in_line = begins[piece]
        numbers.append(number_of_word[in_line + word.start() - in_rest])
    return tuple(numbers)


def items_between(
    items: Sequence[MaskedItem], begin: int, end: int, *, shift: int, most: int
) -> tuple[MaskedItem, ...]:
    """Return the items of one part of a masked text, as those of the part.

    Args:
        begin, end: places in the text from which on, and before which, items are the part's.
        shift: what is added to a place in the text to make it one in the part.
        most: characters of the part.
    """
    own = [number for number, item in enumerate(items) if begin <= item.place < end]
    numbers = {number: place for place, number in enumerate(own)}
    return tuple(
        items[number]._replace(
            place=min(max(0, items[number].place + shift), most), partner=numbers.get(items[number].partner, -1)
        )
        for number in own
    )


def _merged(spans: Sequence[Span]) -> Iterator[Span]:
    """Yield spans; what stands side by side and is no markup is one item ("{a}{b}")."""
    waiting: Span | None = None
    for span in spans:
        if waiting and waiting.end == span.begin and not (waiting.is_tag or span.is_tag):
            waiting = waiting._replace(end=span.end, stand_in=waiting.stand_in or span.stand_in)
            continue
        if waiting:
            yield waiting
        waiting = span
    if waiting:
        yield waiting


def _closed_up(rest: str, text: str, end: int, *, is_tag: bool) -> tuple[str, int]:
    """Return the text before an item and the place behind it where the text goes on, so that there is no space too
    many and none too few between them."""
    before, behind = rest[-1:], text[end : end + 1]
    if before in ("", " ") and behind in ("", " "):
        return (rest, end + 1) if behind and not rest else (rest.rstrip(" "), end)
    if before == " " and behind and behind in CLOSING:
        return rest.rstrip(" "), end
    if behind == " " and before and before in OPENING:
        return rest, end + 1
    if _is_word(before) and _is_word(behind) and not (is_tag and not _stands_alone(text[:end])):
        return rest + " ", end
    return rest, end


def _is_word(sign: str) -> bool:
    return bool(sign) and (sign.isalnum() or sign == "_")


def _stands_alone(text: str) -> bool:
    """Return whether the text ends in a tag that has no other one, such as ``<br/>``."""
    tag = _TAG.match(text, text.rfind("<"))
    return tag is None or bool(tag[3]) or tag[2].lower() in _VOID


def _paired(items: list[MaskedItem]) -> list[MaskedItem]:
    """Return the items, each opening tag with the closing one that belongs to it."""
    opened: list[tuple[str, int]] = []
    for number, item in enumerate(items):
        tag = _TAG.fullmatch(item.text) if item.is_tag else None
        if tag is None or tag[3]:
            continue
        name = tag[2]
        if not tag[1]:
            opened.append((name, number))
            continue
        place = next((place for place in reversed(range(len(opened))) if opened[place][0] == name), None)
        if place is not None:
            partner = opened[place][1]
            del opened[place:]
            items[number] = item._replace(partner=partner)
            items[partner] = items[partner]._replace(partner=number)
    return items
