"""Insertion of items into a translation: white space around them, and the numbers of words behind them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.inference.text.masking import CLOSING, OPENING, MaskedItem
from mtmoe.inference.text.word_alignment import Links
from mtmoe.languages import is_written_without_spaces

_WORD = re.compile(r"\S+")
_BEFORE_WORD = f"{OPENING}'’\""


class Unmasked(NamedTuple):
    """A translation with its items, and where its words are now: ``new_words[j]`` is the number of word j of the
    translation without items; ``item_words`` are those of the items."""

    text: str
    new_words: tuple[int, ...]
    item_words: tuple[tuple[int, ...], ...]

    def links(self, links: Links, items: Sequence[MaskedItem]) -> Links:
        """Return the links of the translation without items, and of the items, as those of the one with them."""
        of_words = [(i, self.new_words[j]) for i, j in links if j < len(self.new_words)]
        of_items = [
            (item.first_word + place, word)
            for item, words in zip(items, self.item_words, strict=True)
            for place, word in enumerate(words)
        ]
        return tuple(sorted({*of_words, *of_items}, key=lambda link: (link[1], link[0])))


class _Character(NamedTuple):
    """Where a character of a translation with items is from: the number of an item, or -1; and its place in the
    translation without items, or -1."""

    item: int = -1
    place: int = -1


def with_inserted(
    text: str, items: Sequence[MaskedItem], places: Sequence[int], num_replaced: Sequence[int] = ()
) -> Unmasked:
    """Return the text with the items at places in it, white space around them as around those of the source.

    Args:
        places: of each item, in the text; those that replace nothing are ascending.
        num_replaced: of each item, the characters behind its place that it replaces, and whose white space it has; none
            may be given for none of them.
    """
    replaced = num_replaced or [0] * len(items)
    whole = ""
    origins: list[_Character] = []
    end = 0
    for number in sorted(range(len(items)), key=lambda number: (places[number], replaced[number] > 0)):
        place, item = places[number], items[number]
        between = range(end, place)
        whole = _appended(whole, origins, text[end:place], [_Character(-1, at) for at in between], items, replaced)
        stood = place if replaced[number] else -1
        whole = _appended(whole, origins, item.text, [_Character(number, stood)] * len(item.text), items, replaced)
        end = place + replaced[number]
    rest = [_Character(-1, at) for at in range(end, len(text))]
    whole = _appended(whole, origins, text[end:], rest, items, replaced)
    return _counted(whole, origins, text, len(items))


def _appended(
    whole: str,
    origins: list[_Character],
    content: str,
    of_content: Sequence[_Character],
    items: Sequence[MaskedItem],
    replaced: Sequence[int],
) -> str:
    """Return the text with a content behind it, after a space where one is missing; ``origins`` grows with it."""
    if not content:
        return whole
    before, behind = (
        items[at.item] if at is not None and at.item >= 0 and not replaced[at.item] else None
        for at in (origins[-1] if origins else None, of_content[0])
    )
    if whole and (before or behind) and _needs_space(whole[-1], content[0], before, behind):
        whole += " "
        origins.append(_Character())
    origins += of_content
    return whole + content


def _needs_space(last: str, first: str, before: MaskedItem | None, behind: MaskedItem | None) -> bool:
    """Return whether white space is missing between two texts, of which at least one is an item.

    Args:
        last, first: characters on the two sides.
        before, behind: the items that they belong to.
    """
    if " " in (last, first):
        return False
    if before and behind:
        return not (before.goes_on and behind.is_joined)
    # What stood beside it in the source without a space, such as a bracket, may not be in the translation.
    if _is_spaced_letter(last) and _is_spaced_letter(first):
        return True
    if behind:
        return not (behind.is_joined or last in _BEFORE_WORD)
    return before is not None and not (before.goes_on or first in CLOSING)


def _is_spaced_letter(sign: str) -> bool:
    """Return whether a character is a letter or digit of a script that has spaces between words."""
    return sign.isalnum() and not is_written_without_spaces(sign)


def _counted(whole: str, origins: Sequence[_Character], text: str, num_items: int) -> Unmasked:
    """Return the text in normal form, and the words of the translation and of the items in it."""
    final = normalise_line(whole)  # a byte that is no character becomes U+FFFD, as decoding has it
    item_words: list[list[int]] = [[] for _ in range(num_items)]
    old_of_character = _word_of_each_character(text)
    found: dict[int, int] = {}
    for number, word in enumerate(_WORD.finditer(whole)):
        for item, place in origins[word.start() : word.end()]:
            if item >= 0 and number not in item_words[item]:
                item_words[item].append(number)
            if place >= 0:
                found.setdefault(old_of_character[place], number)
    new_words = tuple(found.get(old, 0) for old in range(len(text.split())))
    return Unmasked(final, new_words, tuple(map(tuple, item_words)))


def _word_of_each_character(text: str) -> list[int]:
    """Return the number of the word that each character is in; -1 for white space."""
    numbers = [-1] * len(text)
    for number, word in enumerate(_WORD.finditer(text)):
        numbers[word.start() : word.end()] = [number] * len(word[0])
    return numbers
