"""Sentences that run together, and lines that are no sentence."""

from __future__ import annotations

import numpy as np

from mtmoe.data.perturbations.items import ITEM_KINDS, drawn_item
from mtmoe.languages import space_between_sentences

_SIGNS = "-=*#_~+|/\\.,:;!?()[]&§$€£°©®™•→…"
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_MOST_PARTS = 4


def merged(first: str, second: str, language: str) -> str:
    """Return two sentences as one line of the language."""
    return space_between_sentences(language).join((first, second))


def noise_line(random: np.random.Generator) -> str:
    """Draw a line that is the same in every language: numbers, codes, signs, addresses, emoji, placeholders, tags."""
    return " ".join(_noise_part(random) for _ in range(random.integers(1, _MOST_PARTS + 1)))


def _noise_part(random: np.random.Generator) -> str:
    kind = random.integers(4)
    if kind == 0:
        return drawn_item(ITEM_KINDS[random.integers(len(ITEM_KINDS))], random)
    if kind == 1:
        return _SIGNS[random.integers(len(_SIGNS))] * int(random.integers(1, 6))
    if kind == 2:
        letters = "".join(_LETTERS[place] for place in random.integers(len(_LETTERS), size=random.integers(1, 4)))
        return f"{letters}{'-' if random.random() < 0.5 else ''}{random.integers(1, 10000)}"
    number = str(random.integers(1, 100000))
    return f"{number}{'.:/'[random.integers(3)]}{random.integers(10, 100)}" if random.random() < 0.5 else number
