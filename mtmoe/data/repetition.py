"""Repetition: what people would not write so often in a row, or with so few different words.

A model that has lost the thread goes round in circles: "the man who saw the man who saw the man". Three things tell it.

- A *phrase* stands behind itself more often than its length allows: "no, no, no" is plausible, "l'heure actuelle
  l'heure actuelle" is not (:class:`RepetitionLimits`).
- A *chain* has few different words in changing order, each three times on average: "S-S-M-S-S-M"
  (:func:`window_of_chain`).
- A *stutter* has the same few signs six times without a space: "olololololol", but no digits (:func:`has_stutter`).

What repeats something itself may be translated with repetitions. A symbol is a subword in the search
(:mod:`mtmoe.inference.text.subword_repetition`) and a word in a text (:mod:`mtmoe.data.words`), whatever signs are
between words. Digits count as letters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Generic, NamedTuple, TypeVar

import regex

from mtmoe.data.words import num_alphanumerics, words_of

SymbolT = TypeVar("SymbolT", bound=Hashable)

MOST_SYMBOLS = 50
"""Of a phrase: longer ones are not compared, so that lines of any length take a time in proportion."""
FEW_LETTERS = 4
MANY_LETTERS = 8
MOST_DIFFERENT = 10
"""Of the words of a chain: with more, three times each is a text."""
SYMBOLS_OF_CHAIN = 3 * MOST_DIFFERENT
TIMES_OF_STUTTER = 6
SIGNS_OF_STUTTER = 6
"""Most signs that a stutter repeats."""
_STUTTER = regex.compile(rf"([^\s\d]{{1,{SIGNS_OF_STUTTER}}}?)\1{{{TIMES_OF_STUTTER - 1}}}", regex.IGNORECASE)


class Measures(NamedTuple, Generic[SymbolT]):
    """What phrases are measured by: letters and digits of a symbol, and words of a phrase that stands in a row."""

    letters_of: Callable[[SymbolT], int]
    num_words: Callable[[Sequence[SymbolT]], int]


OF_WORDS: Measures[str] = Measures(num_alphanumerics, len)
"""Where a symbol is a word."""


class RepetitionLimits(NamedTuple):
    """How often a phrase may stand in a row, by its letters: a word of fewer than 4, a phrase of fewer than 8, or more.
    single: the least limit of a phrase of one symbol. Phrases without letters ("......") are not limited. may_chain:
    whether few different words may follow each other in any order."""

    short_word: int = 3
    some: int = 2
    many: int = 1
    single: int = 1
    may_chain: bool = False

    @property
    def most(self) -> int:
        """Return the greatest limit of any phrase."""
        return max(self.short_word, self.some, self.many, self.single)

    def times(self, num_letters: int, num_words: int, num_symbols: int) -> int:
        """Return the limit for a phrase of so many letters, words and symbols."""
        if num_letters < FEW_LETTERS and num_words == 1:
            return self.short_word
        times = self.some if num_letters < MANY_LETTERS else self.many
        return max(times, self.single) if num_symbols == 1 else times


OF_SUBWORDS = RepetitionLimits()
OF_TEXT = RepetitionLimits(single=2)
"""Of words, which have signs between them: people write "spaces (spaces, tabs)"."""


def following_that_loops(
    symbols: Sequence[SymbolT], periods: Iterable[int], measures: Measures[SymbolT], limits: RepetitionLimits
) -> set[SymbolT]:
    """Return the symbols after which ``symbols`` would end in a phrase more often in a row than the limits allow.

    Args:
        periods: lengths of phrases that are looked for.
    """
    found = set()
    for period in periods:
        if not ends_in_period(symbols, period, 2 * period - 1):
            continue  # nearly always: no limit is below one
        phrase = symbols[len(symbols) - period :]
        phrase_letters = sum(map(measures.letters_of, phrase))
        length = (limits.times(phrase_letters, measures.num_words(phrase), period) + 1) * period - 1
        if phrase_letters and ends_in_period(symbols, period, length):
            found.add(phrase[0])
    return found


def ends_in_period(symbols: Sequence[Hashable], period: int, length: int) -> bool:
    """Return whether the last ``length`` of the symbols repeat themselves after ``period`` symbols."""
    begin = len(symbols) - length
    return begin >= 0 and symbols[begin + period :] == symbols[begin : len(symbols) - period]


def window_of_chain(num_different: int) -> int:
    """Return how many words in a row are a chain if no more than so many of them are different."""
    return max(OF_SUBWORDS.short_word + 1, 3 * num_different)


_FEWEST_AGAIN = OF_SUBWORDS.short_word
"""Words of a chain that have been there before: all but one of the shortest chain's, which has one different word."""

_WINDOWS = tuple(map(window_of_chain, range(MOST_DIFFERENT + 1)))  # asked for at every step of a search


def following_that_chains(words: Iterable[SymbolT]) -> set[SymbolT]:
    """Return the words after which a text would end in a chain, none having been there before.

    Args:
        words: those of the text, the last one first.
    """
    found: set[SymbolT] = set()
    different: set[SymbolT] = set()
    for number, word in enumerate(words, 1):
        different.add(word)
        num_different = len(different)
        if num_different > MOST_DIFFERENT:
            break
        if number + 1 == _WINDOWS[num_different]:
            found |= different
        if number + 1 >= SYMBOLS_OF_CHAIN:
            break
    return found


def has_chain(words: Sequence[Hashable]) -> bool:
    """Return whether few different words follow each other anywhere, each three times on average."""
    if len(words) - len(set(words)) < _FEWEST_AGAIN:
        return False  # nearly always
    return any(words[end] in following_that_chains(_backwards(words, end)) for end in range(3, len(words)))


def _backwards(words: Sequence[SymbolT], end: int) -> Iterator[SymbolT]:
    return (words[place] for place in range(end - 1, max(-1, end - SYMBOLS_OF_CHAIN), -1))


def limits_after(
    source: Sequence[SymbolT], measures: Measures[SymbolT], usual: RepetitionLimits = OF_SUBWORDS
) -> RepetitionLimits:
    """Return the limits for the translation of a source: the usual ones, or as often as it repeats anything itself.

    A repetition of the source need not be whole, but three quarters of its letters must be there: "very, very" and
    "business is business" are two, and "what I like is what" is none. What stands there three times, or is a chain,
    may become a chain.
    """
    short = some = 1
    letters = [0, *accumulate(map(measures.letters_of, source))]  # of all before each place
    for period in range(1, min(len(source), MOST_SYMBOLS + 1)):
        length = 0
        for end in range(period + 1, len(source) + 1):
            length = length + 1 if source[end - 1] == source[end - 1 - period] else 0
            repeated = letters[end] - letters[end - length]
            if repeated and 4 * repeated >= 3 * (letters[end] - letters[end - period]):
                times = -(-(length + period) // period)
                short = max(short, times)
                some = max(some, times) if repeated >= FEW_LETTERS else some
    may_chain = short > 2 or has_chain([symbol for symbol in source if measures.letters_of(symbol)])
    return RepetitionLimits(
        max(usual.short_word, short), max(usual.some, some), max(usual.many, some), usual.single, may_chain
    )


def limits_of_text(source: str) -> RepetitionLimits:
    """Return the limits for the translation of a text, by its words."""
    return limits_after(words_of(source.casefold()), OF_WORDS, OF_TEXT)


def has_stutter(text: str) -> bool:
    """Return whether one to six signs that are no digits stand six times in a row in a text, without a space."""
    return _STUTTER.search(text) is not None


def has_loop(text: str, *sources: str) -> bool:
    """Return whether a text loops: a phrase, a chain or a stutter that no one of the sources explains.

    A source explains what it repeats itself, and words that it has as often as the text: placeholders and names.

    Args:
        sources: what the text is a translation of, and other translations of it.
    """
    if has_stutter(text) and not any(map(has_stutter, sources)):
        return True
    words = words_of(text.casefold())
    if len(set(words)) == len(words):
        return False
    return _loops(words, OF_TEXT) and all(
        _loops(_told_apart(words, source), limits_of_text(source)) for source in sources
    )


def _told_apart(words: Sequence[str], source: str) -> list[str]:
    """Return words so that those of which a source has as many are all different."""
    found, wanted = Counter(words_of(source.casefold())), Counter(words)
    return [
        f"{word} {number}" if found[word] >= wanted[word] else word for number, word in enumerate(words)
    ]  # no word has a space in it


def _loops(words: Sequence[str], limits: RepetitionLimits) -> bool:
    if not limits.may_chain and has_chain(words):
        return True
    if limits.most > MOST_SYMBOLS:
        return False  # the source does nothing but repeat itself
    longest = (limits.most + 1) * MOST_SYMBOLS
    for end in range(1, len(words)):
        first = max(0, end - MOST_SYMBOLS)
        periods = [end - place for place in range(first, end) if words[place] == words[end]]
        before = words[max(0, end - longest) : end] if periods else ()
        if periods and words[end] in following_that_loops(before, periods, OF_WORDS, limits):
            return True
    return False
