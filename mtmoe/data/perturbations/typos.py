"""Slips of the fingers: a key beside the right one, two letters in the wrong order, a letter lost or doubled.

A letter is what a reader takes for one (a grapheme cluster), so that no accent or vowel sign loses its letter.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import regex

from mtmoe.data.perturbations.items import outside_items
from mtmoe.data.perturbations.keyboards import neighbours_of

_GRAPHEME = regex.compile(r"\X")


def with_typos(text: str, rate: float, random: np.random.Generator, language: str = "") -> str:
    """Return the text with one typo in each of some of its words.

    Words are what spaces divide, and each has one with the probability ``rate`` if it has at least two letters; in
    languages without spaces a word is the text between two spaces. Addresses, placeholders and tags stay as they are.

    Args:
        language: code of the language, which decides the keyboard's layout.
    """
    neighbours = neighbours_of(language)

    def changed(part: str) -> str:
        words = part.split(" ")
        chosen = random.random(len(words)) < rate
        return " ".join(
            with_typo(word, random, neighbours) if has_one else word
            for word, has_one in zip(words, chosen, strict=True)
        )

    return outside_items(text, changed)


def with_typo(word: str, random: np.random.Generator, neighbours: dict[str, str]) -> str:
    """Return the word with one typo, each kind that is possible as likely; as it is if it has fewer than two letters.

    Args:
        neighbours: of small letters, from :func:`mtmoe.data.perturbations.keyboards.neighbours_of`.
    """
    letters = _GRAPHEME.findall(word)
    places = [place for place, letter in enumerate(letters) if letter[0].isalpha()]
    if len(places) < 2:
        return word
    place = places[random.integers(len(places))]
    possible = list(_ways(letters, place, neighbours.get(letters[place].lower(), ""), random))
    return "".join(possible[random.integers(len(possible))])


def _ways(letters: list[str], place: int, beside: str, random: np.random.Generator) -> Iterator[list[str]]:
    """Yield the letters with each typo that is possible at a place."""
    letter, before, behind = letters[place], letters[:place], letters[place + 1 :]
    yield [*before, *behind]
    yield [*before, letter, letter, *behind]
    if beside:
        other = beside[random.integers(len(beside))]
        yield [*before, other.upper() if letter.isupper() else other, *behind]
    pairs = itertools.pairwise(range(place - 1, place + 2))
    swaps = [
        pair
        for pair in pairs
        if pair[0] >= 0 and pair[1] < len(letters) and letters[pair[0]] != letters[pair[1]]
        and all(letters[each][0].isalpha() for each in pair)
    ]  # fmt: skip
    if swaps:
        one, other_place = swaps[random.integers(len(swaps))]
        swapped = list(letters)
        swapped[one], swapped[other_place] = letters[other_place], letters[one]
        yield swapped
