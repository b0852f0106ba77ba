"""Repetition: phrases that stand behind themselves more often than people write them so.

A model that has lost the thread goes round in circles: "the man who saw the man who saw the man". How often a phrase
may stand in a row depends on its letters: "no, no, no" is plausible, "l'heure actuelle l'heure actuelle" is not. What
repeats something itself may be translated with repetitions.

A symbol is a subword in the search and a word in a text (:mod:`mtmoe.data.words`), whatever signs are between
words.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple, TypeVar

from mtmoe.data.words import is_of_word, num_letters, stands_alone, words_of

SymbolT = TypeVar("SymbolT", bound=Hashable)

MOST_SYMBOLS = 50
"""Of a phrase: longer ones are not compared, so that lines of any length take a time in proportion."""
FEW_LETTERS = 4
MANY_LETTERS = 8


class RepetitionLimits(NamedTuple):
    """How often a phrase may stand in a row, by its letters: fewer than 4, fewer than 8, or more. single: the least
    limit of a phrase of one symbol. Phrases without letters ("......") are not limited."""

    few: int = 3
    some: int = 2
    many: int = 1
    single: int = 1

    def times(self, num_letters: int, num_symbols: int) -> int:
        """Return the limit for a phrase of so many letters and symbols."""
        if num_letters < FEW_LETTERS:
            return self.few
        times = self.some if num_letters < MANY_LETTERS else self.many
        return max(times, self.single) if num_symbols == 1 else times


OF_SUBWORDS = RepetitionLimits()
OF_TEXT = RepetitionLimits(single=2)
"""Of words, which have signs between them: people write "spaces (spaces, tabs)"."""


class Repetition:
    """Which words a translation of one source may not go on with; this one compares subwords."""

    def __init__(self, source: Sequence[int], letters_of: Sequence[int]) -> None:
        """Keep the source; ``letters_of``: of each subword of the vocabulary, how many letters it has."""
        self._source, self._letters_of = source, letters_of

    @cached_property
    def limits(self) -> RepetitionLimits:
        """Return the limits; only a hypothesis that repeats something asks."""
        return limits_after(self._source, self._letters_of.__getitem__)

    def may_loop(self, ids: Sequence[int]) -> bool:
        """Return False, which is quickly told, where :meth:`looping_words` has nothing: nearly always."""
        return bool(ids) and (ids.count(ids[-1]) > 1 or self._letters_of[ids[-1]] >= MANY_LETTERS)

    def looping_words(self, ids: Sequence[int]) -> frozenset[int]:
        """Return the words after which ``ids`` would have a phrase more often in a row than its limit allows."""
        if not self.may_loop(ids):
            return frozenset()
        last, letters_of = ids[-1], self._letters_of
        before = ids[-1 - MOST_SYMBOLS : -1]
        periods = {1, *(len(before) - place for place, word in enumerate(before) if word == last)}
        return frozenset(
            following_that_loops(ids, periods, letters_of.__getitem__, OF_SUBWORDS)
            and following_that_loops(ids, periods, letters_of.__getitem__, self.limits)
        )


class SubwordTexts:
    """The texts of a vocabulary, made once for all lines.

    spellings: what each subword spells, a space before a word. words: those that it has, in small letters.
    """

    def __init__(self, spellings: Sequence[str]) -> None:
        """Find the words in what the subwords spell."""
        self.spellings = spellings
        self.words = [words_of(spelling.casefold()) for spelling in spellings]
        self.most_words = max(map(len, self.words), default=0)


class TextRepetition(Repetition):
    """The same, by what subwords spell, in any case: one phrase has many segmentations. It takes longer."""

    def __init__(self, source: str, subwords: SubwordTexts) -> None:
        """Keep the source and the texts of the vocabulary."""
        self._text, self._subwords = source, subwords

    @cached_property
    def limits(self) -> RepetitionLimits:
        """Return the limits."""
        return limits_of_text(self._text)

    def may_loop(self, ids: Sequence[int]) -> bool:
        """Return whether there are words that could be repeated."""
        return bool(ids)

    def looping_words(self, ids: Sequence[int]) -> frozenset[int]:
        """Return the subwords that would end a word which is one too many."""
        text = "".join(self._subwords.spellings[subword] for subword in ids).casefold()
        words = words_of(text)
        is_begun = bool(words) and is_of_word(text[-1]) and not stands_alone(words[-1])
        begun = words[-1] if is_begun else ""
        new = self._one_too_many(words)
        complete = self._one_too_many(words[:-1]) if begun else set()
        rests = {
            (first[len(begun) :], *others) for first, *others in complete if first.startswith(begun) and first != begun
        }
        if not (new or rests):
            return frozenset()
        begins = zip(self._subwords.spellings, self._subwords.words, strict=True)
        return frozenset(
            subword
            for subword, (spelling, its_words) in enumerate(begins)
            if _begins_with_one_of(spelling, its_words, begun, new, rests)
        )

    def _one_too_many(self, words: Sequence[str]) -> set[tuple[str, ...]]:
        """Return what would be one too many behind the words: one word, or the several of a subword."""
        found = set()
        for period in range(1, min(MOST_SYMBOLS, len(words)) + 1):
            phrase = words[len(words) - period :]
            phrase_letters = sum(map(num_letters, phrase))
            num_symbols = (self.limits.times(phrase_letters, period) + 1) * period
            for missing in range(1, min(self._subwords.most_words, num_symbols - 1) + 1):
                if phrase_letters and _ends_in_period(words, period, num_symbols - missing):
                    found.add(tuple(phrase[place % period] for place in range(missing)))
        return found


def _begins_with_one_of(
    spelling: str, words: Sequence[str], begun: str, new: set[tuple[str, ...]], rests: set[tuple[str, ...]]
) -> bool:
    """Return whether a subword begins with the words of one of ``new``, or goes on with a word that is ``begun`` by
    those of one of the ``rests``."""
    goes_on = bool(begun and words) and is_of_word(spelling) and not stands_alone(words[0])
    return any(tuple(words[: len(ending)]) == ending for ending in (rests if goes_on else new))


def following_that_loops(
    symbols: Sequence[SymbolT],
    periods: Iterable[int],
    letters_of: Callable[[SymbolT], int],
    limits: RepetitionLimits,
) -> set[SymbolT]:
    """Return the symbols after which ``symbols`` would end in a phrase more often in a row than the limits allow.

    Args:
        periods: lengths of phrases that are looked for.
    """
    found = set()
    for period in periods:
        if period > len(symbols):
            continue
        phrase_letters = sum(map(letters_of, symbols[len(symbols) - period :]))
        length = (limits.times(phrase_letters, period) + 1) * period - 1
        if phrase_letters and _ends_in_period(symbols, period, length):
            found.add(symbols[len(symbols) - period])
    return found


def _ends_in_period(ids: Sequence[Hashable], period: int, length: int) -> bool:
    """Return whether the last ``length`` of ``ids`` repeat themselves after ``period`` symbols."""
    begin = len(ids) - length
    return begin >= 0 and ids[begin + period :] == ids[begin : len(ids) - period]


def limits_after(
    source: Sequence[SymbolT], letters_of: Callable[[SymbolT], int], usual: RepetitionLimits = OF_SUBWORDS
) -> RepetitionLimits:
    """Return the limits for the translation of a source: the usual ones, or as often as it repeats anything itself.

    A repetition of the source need not be whole, but three quarters of its letters must be there: "very, very" and
    "business is business" are two, and "what I like is what" is none.
    """
    few = some = 1
    letters = [0, *accumulate(map(letters_of, source))]  # of all before each place
    for period in range(1, min(len(source), MOST_SYMBOLS + 1)):
        length = 0
        for end in range(period + 1, len(source) + 1):
            length = length + 1 if source[end - 1] == source[end - 1 - period] else 0
            repeated = letters[end] - letters[end - length]
            if repeated and 4 * repeated >= 3 * (letters[end] - letters[end - period]):
                times = -(-(length + period) // period)
                few = max(few, times)
                some = max(some, times) if repeated >= FEW_LETTERS else some
    return RepetitionLimits(max(usual.few, few), max(usual.some, some), max(usual.many, some), usual.single)


def limits_of_text(source: str) -> RepetitionLimits:
    """Return the limits for the translation of a text, by its words."""
    symbols = words_of(source.casefold())
    return limits_after(symbols, num_letters, OF_TEXT)


def has_loop(text: str, source: str) -> bool:
    """Return whether a text, the translation of a source, has a phrase more often in a row than is plausible."""
    symbols = words_of(text.casefold())
    if len(set(symbols)) == len(symbols):
        return False
    return _loops(symbols, OF_TEXT) and _loops(symbols, limits_of_text(source))


def _loops(symbols: Sequence[str], limits: RepetitionLimits) -> bool:
    if max(limits) > MOST_SYMBOLS:
        return False  # the source does nothing but repeat itself
    longest = (max(limits) + 1) * MOST_SYMBOLS
    for end in range(1, len(symbols)):
        first = max(0, end - MOST_SYMBOLS)
        periods = [end - place for place in range(first, end) if symbols[place] == symbols[end]]
        before = symbols[max(0, end - longest) : end] if periods else ()
        if periods and symbols[end] in following_that_loops(before, periods, num_letters, limits):
            return True
    return False
