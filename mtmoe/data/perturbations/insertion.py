"""An item put into a sentence, at its ends or between two words, and taken out again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mtmoe.data.perturbations.end_punctuation import ending_of


class Place(NamedTuple):
    """Where an item stands in a sentence."""

    word: int
    """In front of which word (what spaces divide, from 0); as many as there are: behind all of them."""
    is_before_mark: bool = False
    """Behind all words, but in front of the punctuation that ends the sentence."""
    is_joined: bool = False
    """No space is between the item and the word behind it."""


def num_words(text: str) -> int:
    """Return how many words a text in normal form has: what spaces divide."""
    return text.count(" ") + 1 if text else 0


def drawn_place(text: str, random: np.random.Generator, *, may_join: bool = False) -> Place:
    """Draw a place: the beginning, the end, in front of the end punctuation, or any place between words; each of these
    as likely.

    Args:
        may_join: the item stands at the word behind it without a space half the time, as tags do.
    """
    joins = may_join and bool(random.random() < 0.5)
    where = random.integers(4)
    number = num_words(text)
    if where == 1:
        return Place(number)
    if where == 2:
        return Place(number, is_before_mark=True)
    return Place(int(random.integers(1, number)) if where == 3 and number > 1 else 0, is_joined=joins)


def inserted(text: str, item: str, place: Place) -> str:
    """Return the text, in normal form, with the item at the place."""
    if place.is_before_mark:
        body, mark = ending_of(text)
        return f"{body} {item}{mark}".strip()
    words = text.split(" ") if text else []
    before, behind = words[: place.word], words[place.word :]
    if place.is_joined and behind:
        behind[0] = item + behind[0]
        return " ".join([*before, *behind])
    return " ".join([*before, item, *behind])


def removed(text: str, item: str) -> str:
    """Return the text without the item, wherever it stands, with no space left over in front of punctuation."""
    first, *parts = text.split(item)
    for part in parts:
        goes_on = bool(part) and part.lstrip()[:1].isalnum()
        first = first.rstrip() + (" " if goes_on else "") + (part.lstrip() if goes_on else part)
    return " ".join(first.split())
