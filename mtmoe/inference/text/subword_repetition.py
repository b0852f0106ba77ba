"""Repetition in the search: which subwords a translation may not go on with.

What is too often, :mod:`mtmoe.data.repetition` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain, islice, product
from typing import NamedTuple

from mtmoe.data.repetition import (
    MOST_DIFFERENT,
    MOST_SYMBOLS,
    OF_SUBWORDS,
    SIGNS_OF_STUTTER,
    SYMBOLS_OF_CHAIN,
    TIMES_OF_STUTTER,
    Measures,
    RepetitionLimits,
    ends_in_period,
    following_that_chains,
    following_that_loops,
    has_stutter,
    limits_after,
    limits_of_text,
    window_of_chain,
)
from mtmoe.data.words import is_of_word, num_alphanumerics, stands_alone, words_of


class SubwordLetters:
    """What the subwords of a vocabulary consist of, made once for all lines.

    letters_of: how many letters and digits each has. words_of: how many words, those included that it goes on with.
    Bytes beyond ASCII are parts of words, and one that begins a character is a letter.
    """

    def __init__(self, spellings: Sequence[bytes]) -> None:
        """Look at what subwords spell, a space before a word."""
        texts = [spelling.decode(errors="replace") for spelling in spellings]
        is_byte = [len(spelling) == 1 and spelling >= b"\x80" for spelling in spellings]
        self.letters_of = [
            int(spelling >= b"\xc0") if byte else num_alphanumerics(text)
            for spelling, text, byte in zip(spellings, texts, is_byte, strict=True)
        ]
        self.words_of = [1 if byte else len(words_of(text)) for text, byte in zip(texts, is_byte, strict=True)]
        self.begins_within, self.ends_within = (
            [byte or (text != "" and is_of_word(text[at])) for text, byte in zip(texts, is_byte, strict=True)]
            for at in (0, -1)
        )
        self.measures = Measures(self.letters_of.__getitem__, self.num_words)
        self.most_in_row = [
            OF_SUBWORDS.times(letters, max(1, num_words - (begins and ends)), 1) if letters else 0
            for letters, num_words, begins, ends in zip(
                self.letters_of, self.words_of, self.begins_within, self.ends_within, strict=True
            )
        ]
        """How often each may stand in a row, by the usual limits; 0 where that is not limited."""

    def num_words(self, phrase: Sequence[int]) -> int:
        """Return how many words a phrase adds to a text in which it stands in a row; at least one."""
        joined = sum(
            self.ends_within[before] and self.begins_within[subword]
            for before, subword in zip((phrase[-1], *phrase), phrase, strict=False)
        )
        return max(1, sum(self.words_of[subword] for subword in phrase) - joined)


class Repetition:
    """Which words a translation of one source may not go on with; this one compares subwords."""

    def __init__(self, source: Sequence[int], subwords: SubwordLetters) -> None:
        """Keep the source and what its vocabulary consists of."""
        self.source, self.subwords = source, subwords

    @cached_property
    def limits(self) -> RepetitionLimits:
        """Return the limits; only a hypothesis that repeats something asks."""
        return limits_after(self.source, self.subwords.measures)

    def may_loop(self, ids: Sequence[int]) -> bool:
        """Return False, which is quickly told, where :meth:`looping_words` has nothing: nearly always."""
        if not ids:
            return False
        last, subwords = ids[-1], self.subwords
        if subwords.most_in_row[last] == 1 or ids.count(last) > 1:
            return True
        # A chain ends in a word that it has had, or in signs.
        return not subwords.words_of[last] and _may_have_chain(ids)

    def looping_words(self, ids: Sequence[int]) -> frozenset[int]:
        """Return the words after which ``ids`` would have a phrase more often in a row than its limit allows, or a
        chain."""
        if not self.may_loop(ids):
            return frozenset()
        periods, measures = self._periods(ids), self.subwords.measures
        found = following_that_loops(ids, periods, measures, OF_SUBWORDS) if periods else set()
        if found:
            found = following_that_loops(ids, periods, measures, self.limits)
        if _may_have_chain(ids) and self._may_chain(ids):
            chained = following_that_chains(word for word in reversed(ids) if self.subwords.words_of[word])
            if chained and not self.limits.may_chain:
                found |= chained
        return frozenset(found)

    def _periods(self, ids: Sequence[int]) -> list[int]:
        """Return the lengths of phrases that may be at their end once more: of one subword, if it stands there as often
        as it may, and of several, the last two of which have stood there before."""
        last, before = ids[-1], ids[-1 - MOST_SYMBOLS : -1]
        most = self.subwords.most_in_row[last]
        periods = [1] if most and ids[-most:].count(last) == most else []
        if last not in before:
            return periods
        length = len(ids)
        for place, subword in enumerate(before):
            period = len(before) - place
            if subword == last and period > 1 and (period == 2 or ids[-2:-1] == ids[length - 2 - period : -1 - period]):
                periods.append(period)
        return periods

    def _may_chain(self, ids: Sequence[int]) -> bool:
        """Return False, which is quickly told, where a chain cannot be one word off: its last word must have been there
        before, else it would have been a chain already without that."""
        last = next((word for word in reversed(ids) if self.subwords.words_of[word]), None)
        return last is not None and ids.count(last) > 1


def _may_have_chain(ids: Sequence[int]) -> bool:
    """Return False, which is quickly told, where at most one subword has been there before: a chain has more."""
    return len(ids) - len(set(ids)) > 1


class SubwordTexts:
    """The texts of a vocabulary, made once for all lines.

    spellings: what each subword spells, a space before a word. small: the same in small letters. words: those that it
    has, in small letters.
    """

    def __init__(self, spellings: Sequence[str]) -> None:
        """Find the words in what the subwords spell."""
        self.spellings = spellings
        self.small = [spelling.casefold() for spelling in spellings]
        self.words = list(map(words_of, self.small))
        self.most_words = max(map(len, self.words), default=0)
        self.goes_on = [
            bool(words) and is_of_word(spelling) and not stands_alone(words[0])
            for spelling, words in zip(spellings, self.words, strict=True)
        ]
        """Whether each goes on with a word, if one is begun."""
        self._by_first: dict[tuple[str, ...], list[int]] = {}
        for subword, words in enumerate(self.words):
            for number in range(1, min(len(words), 2) + 1):
                self._by_first.setdefault(tuple(words[:number]), []).append(subword)

    def beginning_with(self, *words: str) -> Sequence[int]:
        """Return the subwords whose first words are these, one or two."""
        return self._by_first.get(words, ())


class _Endings(NamedTuple):
    """What the words of a text may not be followed by.

    phrases: sequences of words that would be one too many. chains: so many words, all of them of a set; the sets grow.
    """

    phrases: set[tuple[str, ...]]
    chains: list[tuple[int, set[str]]]

    def has(self, words: Sequence[str]) -> bool:
        """Return whether words begin with what may not follow."""
        return any(tuple(words[: len(phrase)]) == phrase for phrase in self.phrases) or any(
            len(words) >= number and of_chain.issuperset(words[:number]) for number, of_chain in self.chains
        )

    def first_words(self) -> set[str]:
        """Return the words that what may not follow begins with, but for chains of several words to come."""
        of_chains = (word for number, of_chain in self.chains if number == 1 for word in of_chain)
        return {*(phrase[0] for phrase in self.phrases), *of_chains}

    def all_first_words(self) -> set[str]:
        """Return the words that anything which may not follow begins with."""
        return {*(phrase[0] for phrase in self.phrases), *(self.chains[-1][1] if self.chains else ())}

    def first_two_words(self) -> Iterator[tuple[str, str]]:
        """Yield what chains of several words to come may begin with."""
        largest = self.chains[-1][1] if self.chains else ()
        yield from product(largest, repeat=2)


class TextRepetition(Repetition):
    """The same, by what subwords spell, in any case: one phrase has many segmentations. It takes longer.

    Two kinds of chains are told only when the next subword would go on with them: those that one subword ends by
    several words of which one is new, and those of which it goes on with a word and adds others.
    """

    def __init__(self, source: str, subwords: SubwordTexts) -> None:
        """Keep the source and the texts of the vocabulary."""
        self._text, self._texts = source, subwords

    @cached_property
    def limits(self) -> RepetitionLimits:
        """Return the limits."""
        return limits_of_text(self._text)

    def may_loop(self, ids: Sequence[int]) -> bool:
        """Return whether there are words that could be repeated."""
        return bool(ids)

    def looping_words(self, ids: Sequence[int]) -> frozenset[int]:
        """Return the subwords that would end a word which is one too many."""
        text = "".join(self._texts.spellings[subword] for subword in ids).casefold()
        words = words_of(text)
        is_begun = bool(words) and is_of_word(text[-1]) and not stands_alone(words[-1])
        found = self._behind(words, is_begun)
        if is_begun:
            found |= self._going_on(words[:-1], words[-1])
        return frozenset(found | self._stuttering(text))

    def _behind(self, words: Sequence[str], is_begun: bool) -> set[int]:
        """Return the subwords that are one too many behind the words; with ``is_begun`` they do not go on with the
        last one."""
        endings = self._one_too_many(words)
        begins = [(word,) for word in endings.first_words()]
        return {
            subword
            for beginning in chain(begins, endings.first_two_words())
            for subword in self._texts.beginning_with(*beginning)
            if not (is_begun and self._texts.goes_on[subword]) and endings.has(self._texts.words[subword])
        }

    def _going_on(self, words: Sequence[str], begun: str) -> set[int]:
        """Return the subwords that make ``begun`` a word which is one too many behind the words."""
        endings = self._one_too_many(words)
        if not any(word.startswith(begun) and word != begun for word in endings.first_words()):
            return set()
        rests = {word.removeprefix(begun) for word in endings.all_first_words() if word.startswith(begun)}
        return {
            subword
            for rest in rests
            for subword in self._texts.beginning_with(rest)
            if self._texts.goes_on[subword] and endings.has([begun + rest, *self._texts.words[subword][1:]])
        }

    def _stuttering(self, text: str) -> set[int]:
        """Return the subwords that would complete a stutter of which at least half is there."""
        found: set[int] = set()
        tail = text[-TIMES_OF_STUTTER * SIGNS_OF_STUTTER :]
        for period in range(1, SIGNS_OF_STUTTER + 1):
            there = period
            while there < len(tail) and tail[-there - 1] == tail[-there - 1 + period]:
                there += 1
            missing = TIMES_OF_STUTTER * period - there
            if not 0 < missing <= TIMES_OF_STUTTER * period // 2:
                continue
            ending = "".join(tail[len(tail) - period + place % period] for place in range(missing))
            if has_stutter(tail + ending) and not self._source_stutters:
                found |= {number for number, signs in enumerate(self._texts.small) if signs.startswith(ending)}
        return found

    @cached_property
    def _source_stutters(self) -> bool:
        return has_stutter(self._text)

    def _one_too_many(self, words: Sequence[str]) -> _Endings:
        """Return what may not follow the words."""
        phrases, phrase_letters = set(), 0
        for period in range(1, min(MOST_SYMBOLS, len(words)) + 1):
            phrase = words[len(words) - period :]
            phrase_letters += num_alphanumerics(phrase[0])
            num_symbols = (self.limits.times(phrase_letters, period, period) + 1) * period
            for missing in range(1, min(self._texts.most_words, num_symbols - 1) + 1):
                if phrase_letters and ends_in_period(words, period, num_symbols - missing):
                    phrases.add(tuple(phrase[place % period] for place in range(missing)))
        return _Endings(phrases, [] if self.limits.may_chain else list(self._chains(words)))

    def _chains(self, words: Sequence[str]) -> Iterator[tuple[int, set[str]]]:
        """Yield how many words of which would be a chain behind the words."""
        different: set[str] = set()
        for number, word in enumerate(islice(reversed(words), SYMBOLS_OF_CHAIN), 1):
            different.add(word)
            if len(different) > MOST_DIFFERENT:
                return
            missing = window_of_chain(len(different)) - number
            if 1 <= missing <= self._texts.most_words:
                yield missing, set(different)
