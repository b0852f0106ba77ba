"""Typing errors: words that are read as the word that was meant.

A model knows the words of its training text. A word that neither that text nor the dictionary of the language has, and
that is one slip of the fingers from words of the text, is read as the likeliest of them: how often the word is written,
times how likely the slip is (a noisy channel; Kernighan, Church and Gale 1990). Names, and all words of which nobody
knows whether they are wrong, stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import regex

from mtmoe.data.perturbations.items import outside_items
from mtmoe.data.perturbations.keyboards import neighbours_of
from mtmoe.data.prepared.source_words import WORD

_NOT_BESIDE = r"[\p{L}\p{M}\p{N}_@#$%&=<>/\\|~^*+-]"
# A word on its own: no part of a name of a file, a variable or the like.
_ALONE = regex.compile(rf"(?<!{_NOT_BESIDE}|[.:]){WORD.pattern}(?!{_NOT_BESIDE}|[.:]\S)")
_SENTENCE_BEGINS = regex.compile(r"(?:^|[.!?…]\s)[\s\"'“„«(¿¡]*$")
_APOSTROPHES = regex.compile("['’]")
_UNLIKELY = 0.1
"""Times as likely as other slips: a letter that is not beside the right one, and one too many that is not doubled."""
_FEWEST = 2
"""Times that a word must stand in the training text, so that it is no slip itself."""
_LEAST_SHARE = {2: 5e-4, 3: 1e-4}
"""Of the training text, by the letters of the wrong word: short ones are often abbreviations."""
_LEAST_SHARE_AT_BEGIN = 5e-5
"""For a word with a capital that begins a sentence and may be a name."""
_FEWEST_WORDS = 4
"""Of a text, to tell whether it is in another language."""
_MOST_LETTERS = 30
_MOST_OF_ALPHABET = 200


class Correction(NamedTuple):
    """A word as it was written, and what it was read as."""

    written: str
    read_as: str


def as_typed(corrections: Sequence[Correction], line: str) -> tuple[Correction, ...]:
    """Return the corrections of a line that was read in other letters, with the words as the line has them."""
    found, place = [], 0
    for correction in corrections:
        match = regex.compile(regex.escape(correction.written), regex.IGNORECASE).search(line, place)
        place = match.end() if match else place
        found.append(correction._replace(written=match[0]) if match else correction)
    return tuple(found)


class TypingErrors:
    """Finds them in text of one language."""

    def __init__(self, counts: Mapping[str, int], dictionary: Callable[[], Container[str]], language: str) -> None:
        """Keep what is known.

        Args:
            counts: of the words of the training text.
            dictionary: returns the words of the language, in small letters; most text needs none.
            language: its code, which decides the keyboard's layout.
        """
        self._counts, self._read_dictionary = counts, dictionary
        self._neighbours = neighbours_of(language)
        self._total = max(1, sum(counts.values()))

    def corrected(self, text: str) -> tuple[str, tuple[Correction, ...]]:
        """Return the text as it is read, and what is not as it was written, in order.

        Where more than three of four words would be others, the text is in another language, and stays as it is.
        """
        corrections: list[Correction] = []

        def read(part: str) -> str:
            changed: str = _ALONE.sub(lambda match: self._read(match, part, corrections), part)
            return changed

        changed = outside_items(text, read)
        num_words = len(WORD.findall(text))
        if num_words >= _FEWEST_WORDS and 4 * len(corrections) > 3 * num_words:
            return text, ()
        return changed, tuple(corrections)

    def _read(self, match: regex.Match[str], text: str, corrections: list[Correction]) -> str:
        written: str = match[0]
        if self._is_known(written):
            return written
        has_capital = written[0].isupper()
        if has_capital and not (written[1:].islower() and _SENTENCE_BEGINS.search(text, 0, match.start())):
            return written
        meant = self._meant(written[0].lower() + written[1:], may_be_name=has_capital)
        if meant is None:
            return written
        read_as = meant[0].upper() + meant[1:] if has_capital else meant
        corrections.append(Correction(written, read_as))
        return read_as

    def _is_known(self, word: str) -> bool:
        small = word.casefold()
        if word in self._counts or small in self._small_words or small in self._dictionary:
            return True
        parts = _APOSTROPHES.split(small)
        return len(parts) > 1 and all(part in self._small_words or part in self._dictionary for part in parts)

    @cached_property
    def _dictionary(self) -> Container[str]:
        return self._read_dictionary()

    @cached_property
    def _small_words(self) -> frozenset[str]:
        return frozenset(map(str.casefold, self._counts))

    @cached_property
    def _alphabet(self) -> str:
        letters: dict[str, int] = {}
        for word, number in self._counts.items():
            for letter in word.lower():
                letters[letter] = letters.get(letter, 0) + number
        return "".join(sorted(letters, key=lambda letter: (-letters[letter], letter))[:_MOST_OF_ALPHABET])

    def _meant(self, word: str, *, may_be_name: bool) -> str | None:
        """Return the likeliest word that a word in small letters is one slip away from; None if there is none."""
        num_letters = len(word)
        if not 2 <= num_letters <= _MOST_LETTERS:
            return None
        share = max(_LEAST_SHARE_AT_BEGIN if may_be_name else 0.0, _LEAST_SHARE.get(num_letters, 0.0))
        least = max(_FEWEST, self._total * share)
        only_likely = may_be_name or num_letters <= 3
        best: tuple[float, str] | None = None
        for other, likelihood in self._one_slip_away(word):
            number = self._counts.get(other, 0)
            if number < least or len(other) < 2 or (only_likely and likelihood < 1):
                continue
            number += self._counts.get(other[0].upper() + other[1:], 0)  # at the beginning of a sentence
            best = max(best or (0.0, ""), (number * likelihood, other))
        return None if best is None else best[1]

    def _one_slip_away(self, word: str) -> Iterator[tuple[str, float]]:
        """Yield what a word may have been before one slip, and how likely that slip is. Of two letters only their order
        can be wrong: else they could be nearly anything."""
        only_order = len(word) == 2
        for place, letter in enumerate(word):
            before, behind = word[:place], word[place + 1 :]
            if behind and behind[0] != letter:
                yield f"{before}{behind[0]}{letter}{behind[1:]}", 1.0
            if only_order:
                continue
            is_doubled = letter in (before[-1:], behind[:1])
            yield before + behind, 1.0 if is_doubled else _UNLIKELY
            beside = self._neighbours.get(letter, "")
            for other in self._alphabet:
                yield f"{before}{other}{word[place:]}", 1.0
                if other != letter:
                    yield f"{before}{other}{behind}", 1.0 if other in beside else _UNLIKELY
        if not only_order:
            yield from ((word + other, 1.0) for other in self._alphabet)
