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


def with_inserted(text: str, items: Sequence[MaskedItem], places: Sequence[int]) -> Unmasked:
    """Return the text with the items at places in it, white space around them as around those of the source.

    Args:
        places: ascending, in the text.
    """
    pieces: list[tuple[str, int]] = []  # text, and the item that it is; -1: of the translation
    end = 0
    for number, (item, place) in enumerate(zip(items, places, strict=True)):
        pieces.append((text[end:place], -1))
        pieces.append((item.text, number))
        end = place
    pieces.append((text[end:], -1))
    whole = ""
    owners: list[int] = []  # of each character: the item, or -1
    for content, owner in pieces:
        if not content:
            continue
        behind = items[owner] if owner >= 0 else None
        before = items[owners[-1]] if owners and owners[-1] >= 0 else None
        if whole and _needs_space(whole[-1], content[0], before, behind):
            whole, owners = f"{whole} ", [*owners, -1]
        whole += content
        owners += [owner] * len(content)
    return _counted(whole, owners, text, len(items))


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


def _counted(whole: str, owners: Sequence[int], text: str, num_items: int) -> Unmasked:
    """Return the text in normal form, and the words of the translation and of the items in it."""
    final = normalise_line(whole)  # a byte that is no character becomes U+FFFD, as decoding has it
    item_words: list[list[int]] = [[] for _ in range(num_items)]
    old_of_character = _word_of_each_character(text)
    place = 0
    found: dict[int, int] = {}
    for number, word in enumerate(_WORD.finditer(whole)):
        for character in range(word.start(), word.end()):
            owner = owners[character]
            if owner >= 0:
                if number not in item_words[owner]:
                    item_words[owner].append(number)
                continue
            while place < len(text) and text[place].isspace():
                place += 1
            if place < len(text):
                found.setdefault(old_of_character[place], number)
                place += 1
    new_words = tuple(found.get(old, 0) for old in range(len(text.split())))
    return Unmasked(final, new_words, tuple(map(tuple, item_words)))


def _word_of_each_character(text: str) -> list[int]:
    """Return the number of the word that each character is in; -1 for white space."""
    numbers = [-1] * len(text)
    for number, word in enumerate(_WORD.finditer(text)):
        numbers[word.start() : word.end()] = [number] * len(word[0])
    return numbers
