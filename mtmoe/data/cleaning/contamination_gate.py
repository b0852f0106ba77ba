"""Contamination gate: sentences of dev and test sets, which training text may not have, however they are spelt."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.data.cleaning.sentence_hashes import hash64
from mtmoe.data.raw.sentence_pairs import Pair


def comparison_key(text: str) -> str:
    """Return what is left of a sentence when case, punctuation, spacing and letter forms do not count.

    Two sentences with the same key are the same sentence for the contamination gate and for
    splits. A sentence of nothing but punctuation is its own key.
    """
    text = normalise_line(text)
    if text.isascii():
        letters = _ASCII_UNLETTERS.sub(" ", text.lower())
    else:
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        letters = folded.translate(_SPACE_FOR_UNLETTERS)
    return " ".join(letters.split()) or text


def _is_unletter(character: str) -> bool:
    """Return whether a character is punctuation, white space or a control character."""
    # Marks (M) spell vowels in many scripts, and currency, mathematics and emoji carry meaning.
    category = unicodedata.category(character)
    return category[0] in "PZC" or category == "Sk"


_ASCII_UNLETTERS = re.compile(
    "[" + "".join(re.escape(chr(code)) for code in range(128) if _is_unletter(chr(code))) + "]+"
)


class _SpaceForUnletters(dict[int, int]):
    """A translation table that looks a character up when it meets it first."""

    def __missing__(self, code: int) -> int:
        """Return and keep a space for punctuation, and every other character as it is."""
        self[code] = 0x20 if _is_unletter(chr(code)) else code
        return self[code]


_SPACE_FOR_UNLETTERS = _SpaceForUnletters()


class ContaminationGate:
    """The sentences of either side that are in a dev or test set; no training pair may have one of them."""

    def __init__(self, pairs: Iterable[Pair] = (), *, either_way: bool = False) -> None:
        """Hash the sides of the pairs.

        Args:
            either_way: a side is held out on both sides, for text of several directions.
        """
        self._source: set[int] = set()
        self._target: set[int] = self._source if either_way else set()
        for pair in pairs:
            self.add(pair)

    def add(self, pair: Pair) -> None:
        """Hold out both sides; a blank side holds out nothing."""
        for text, keys in ((pair.source, self._source), (pair.target, self._target)):
            key = comparison_key(text)
            if key:
                keys.add(hash64(key))

    def __contains__(self, pair: Pair) -> bool:
        """Return whether either side of the pair is held out."""
        return (
            hash64(comparison_key(pair.source)) in self._source or hash64(comparison_key(pair.target)) in self._target
        )

    def __len__(self) -> int:
        """Return the number of sides that are held out."""
        return len(self._source) + len(self._target)
