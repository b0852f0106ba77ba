"""Placeholders: texts that a translation must have just as the source has them, once each and in the source's order.

Which texts of a line they are is the setting ``decoding.placeholders``.

It is looked for in what a hypothesis spells, not in its subwords, for one text has many segmentations. The functions
are of the words of a hypothesis and nothing else, as in :mod:`mtmoe.inference.constraints.decoding_rule`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

from mtmoe.inference.text.spelling import Spellings, is_of_word

_WORD = rb"[0-9A-Za-z_\x80-\xff]"


class NextWordDemand(NamedTuple):
    """What the placeholders that are still to come ask of the next word.

    allowed: words that bring the next one forward. forced: the one of them that is surely short. banned: words that
    would complete a placeholder out of turn, or make it a part of a longer word. num_missing: words that suffice to
    complete all. room: words that suffice even if what is begun is broken off now.
    """

    allowed: frozenset[int] = frozenset()
    forced: int = -1
    banned: frozenset[int] = frozenset()
    num_missing: int = 0
    room: int = 0
    breaking: frozenset[int] = frozenset()
    """Words that would leave the beginning of a placeholder as one of another ("1" of "10" where "1" is one, too)."""
    closing: frozenset[int] = frozenset()
    """Those of ``banned`` that would go on with a placeholder that is complete."""


NO_DEMAND = NextWordDemand()


class WordsNeeded(NamedTuple):
    """Words that suffice for what is still to come. anew: if something else comes first; going_on: if the next one
    comes, or goes on, with ``rest`` (None: it cannot). ends_in_word: whether its last character is of a word.
    is_closed: a placeholder that ends so is complete just now, so that nothing may go on with its word."""

    anew: int = 0
    going_on: int = 0
    rest: Sequence[int] | None = None
    ends_in_word: bool = False
    is_closed: bool = False


_MOST_ROOM = 100
"""Words that placeholders may need so that every way to write them is considered where room is tight."""


class Placeholder(NamedTuple):
    """A text of the source. is_joined: no space is before it there; goes_on: a letter or digit follows at once.
    lengthening: signs of ASCII which, were they to follow, would be taken for a part of it (a web address)."""

    text: str
    is_joined: bool = False
    goes_on: bool = False
    lengthening: str = ""


class _Completing(NamedTuple):
    """Words that complete a placeholder: by what of it must be there before, and those that have all of it inside."""

    after: dict[bytes, frozenset[int]]
    anywhere: frozenset[int]


class _Spelt(NamedTuple):
    """What a hypothesis spells, how many placeholders are complete in it, and where the last of them ends."""

    text: bytes
    num_done: int
    place: int


class Placeholders:
    """Texts that must come out as they are, in this order."""

    def __init__(self, placeholders: Sequence[Placeholder], spellings: Spellings) -> None:
        """Get ready for them; ``placeholders``: each must be one that :func:`can_be_spelt` says can be spelt."""
        self._placeholders = tuple(placeholders)
        self._wanted = [part.text.encode() for part in placeholders]
        self._spellings = spellings
        self._lengthening = [[sign.encode() for sign in part.lengthening] for part in placeholders]
        self._finders = {text: _finder(text) for text in self._wanted}
        self._concerned: dict[bytes, set[int]] = {}
        self._num_fewest: dict[Placeholder, int] = {}
        self._completing = {text: _completing(text, spellings) for text in self._finders}
        self._completing_after: dict[bytes, list[tuple[bytes, frozenset[int]]]] = {}
        for text, completing in self._completing.items():
            for beginning, words in completing.after.items():
                self._completing_after.setdefault(beginning, []).append((text, words))
        self._longest_beginning = max(map(len, self._completing_after), default=0)
        self._lengths = sorted({len(text) for text in self._finders})
        self._num_completed = {
            is_behind_word: Counter(
                word for text in self._finders for word in self._completing_at_once(text, is_behind_word)
            )
            for is_behind_word in (False, True)
        }
        # Of hypotheses of one length and of those of one word less: all that a step of the search asks for.
        self._num_words = 0
        self._states: dict[tuple[int, ...], _Spelt] = {}
        self._states_before: dict[tuple[int, ...], _Spelt] = {}
        self._spelt_by_longest: dict[bytes, list[int] | None] = {}
        self._spelt_by_fewest: dict[bytes, list[int] | None] = {}
        # Of the placeholders from each on, so that a step does not count all of them.
        self._num_words_from = _sums_from([len(spellings.spelt(b" " + text) or ()) for text in self._wanted])
        self._room_from = _sums_from([len(text) + 1 for text in self._wanted])

    @property
    def room(self) -> int:
        """Return how many words all of them need at most: each byte one, and a space before each."""
        return self._room_from[0]

    @property
    def words(self) -> set[int]:
        """Return words that write every placeholder from any place on, with the fewest or the longest."""
        found: set[int] = set()
        for due in self._finders:
            for rest in (b" " + due, *(due[start:] for start in range(len(due)))):
                for ids in (self._longest(rest), self._shortest(rest)):
                    found.update(ids[:1] if ids else ())
        return found

    def num_missing(self, ids: Sequence[int]) -> int:
        """Return how many words suffice to complete all."""
        return self._missing(*self._state(ids))

    def _longest(self, text: bytes) -> list[int] | None:
        """Return what :meth:`Spellings.spelt` does; remembered, for the ends of placeholders are few."""
        if text not in self._spelt_by_longest:
            self._spelt_by_longest[text] = self._spellings.spelt(text)
        return self._spelt_by_longest[text]

    def _shortest(self, text: bytes) -> list[int] | None:
        """Return what :meth:`Spellings.fewest` does; remembered."""
        if text not in self._spelt_by_fewest:
            self._spelt_by_fewest[text] = self._spellings.fewest(text)
        return self._spelt_by_fewest[text]

    @property
    def num_states(self) -> int:
        """Return how many hypotheses' states are remembered: those of a beam at two steps."""
        return len(self._states) + len(self._states_before)

    def _state(self, ids: Sequence[int]) -> _Spelt:
        """Return the state of a hypothesis, from that of the one without its last word where this is remembered."""
        key = tuple(ids)
        found = self._remembered(key)
        if found is not None:
            return found
        before = self._remembered(key[:-1]) if key else None
        if before is None:
            text = self._spellings.text(key)
            return _Spelt(text, *self._done(text))
        text = before.text + self._spellings.bytes_of[key[-1]]
        # A placeholder at the very end is none any more if its word goes on; those before it stay.
        is_sure = before.place < len(before.text)
        return _Spelt(text, *self._done(text, *(before[1:] if is_sure else (0, 0))))

    def _remembered(self, key: tuple[int, ...]) -> _Spelt | None:
        return self._states.get(key) or self._states_before.get(key)

    def _remember(self, key: tuple[int, ...], state: _Spelt) -> None:
        """Remember a state, and forget those of hypotheses that are two words shorter."""
        if len(key) != self._num_words:
            self._states_before = self._states if len(key) == self._num_words + 1 else {}
            self._num_words, self._states = len(key), {}
        self._states[key] = state

    def demand(self, ids: Sequence[int]) -> NextWordDemand:
        """Return what may come after ``ids``, whose state is remembered: hypotheses one word longer begin with it."""
        text, number, place = state = self._state(ids)
        self._remember(tuple(ids), state)
        due = self._wanted[number] if number < len(self._wanted) else None
        banned = self._out_of_turn(text, due)
        closing: set[int] = set()
        if number and place == len(text):
            if is_of_word(text[-1]) or not self._placeholders[number - 1].goes_on:
                closing |= self._spellings.continuing
            closing.update(*(self._spellings.beginning_with(sign) for sign in self._lengthening[number - 1]))
        banned |= closing
        if due is None:
            return NextWordDemand(banned=frozenset(banned), closing=frozenset(closing))
        begun = self._begun(text, due, place)
        is_another = begun and is_of_word(text[-1]) and self._ends_in_another(text, due)
        breaking = self._spellings.ending if is_another else frozenset()
        forced = self._spellings.first(due[begun:] if begun else _with_space(text, due))
        allowed = {forced}
        if not begun and self._placeholders[number].is_joined and _is_apart(text, len(text), due):
            allowed.add(self._spellings.first(due))
        assert forced is not None
        return NextWordDemand(
            allowed=frozenset(word for word in allowed if word is not None),
            forced=forced,
            closing=frozenset(closing),
            banned=frozenset(banned | breaking),
            breaking=breaking,
            num_missing=self._missing(text, number, place),
            room=self._room_from[number],
        )

    def needed(self, ids: Sequence[int]) -> WordsNeeded:
        """Return the words that suffice to complete all, each placeholder written with as few as can be."""
        text, number, place = self._state(ids)
        is_closed = bool(number) and place == len(text) and is_of_word(text[-1])
        if number == len(self._wanted):
            return WordsNeeded(is_closed=is_closed)
        others = self._num_fewest_from[number + 1]
        due = self._wanted[number]
        anew = others + self._fewest(self._placeholders[number])
        begun = self._begun(text, due, place)
        ways = [due[begun:]] if begun else [_with_space(text, due)]
        if not begun and self._placeholders[number].is_joined and _is_apart(text, len(text), due):
            ways.append(due)
        rest = min((found for way in ways if (found := self._shortest(way)) is not None), key=len, default=None)
        return WordsNeeded(anew, others + len(rest or ()), rest, is_of_word(due[-1]), is_closed)

    def _fewest(self, part: Placeholder) -> int:
        """Return how many words write a placeholder anywhere.

        It has a space before it, or stands as it is if no word can go on in it.
        """
        found = self._num_fewest.get(part)
        if found is None:
            text = part.text.encode()
            ways = [b" " + text, *([text] if part.is_joined and not is_of_word(text[0]) else [])]
            found = min(len(ids) for way in ways if (ids := self._shortest(way)) is not None)
            self._num_fewest[part] = found
        return found

    def concerned(self, ids: Sequence[int]) -> set[int]:
        """Return the words that have something of the next placeholder; of very many, those that are the fewest."""
        text, number, place = self._state(ids)
        if number == len(self._wanted):
            return set()
        due = self._wanted[number]
        rest = due[self._begun(text, due, place) :]
        if self.room > _MOST_ROOM:
            # Those that bring forward what :meth:`needed` counts, so that one of them always fits.
            ways = [self._shortest(b" " + due), self.needed(ids).rest]
            if self._placeholders[number].is_joined:
                ways.append(self._shortest(due))
            return {way[0] for way in ways if way}
        # Where room is tight, a placeholder is joined to what is before it only if the source does so.
        is_behind_space = (
            not text or text.endswith(b" ") or len(rest) < len(due) or self._placeholders[number].is_joined
        )
        if due not in self._concerned:
            self._concerned[due] = self._spellings.overlapping(b" " + due)
        words = self._concerned[due]
        return words if is_behind_space else {word for word in words if self._spellings.bytes_of[word][:1] == b" "}

    @cached_property
    def _num_fewest_from(self) -> list[int]:
        return _sums_from([self._fewest(part) for part in self._placeholders])

    def _done(self, text: bytes, number: int = 0, place: int = 0) -> tuple[int, int]:
        """Return how many are there, and where the last of them ends.

        The first ``number`` are known to end at ``place``.
        """
        while number < len(self._wanted):
            found = self._finders[self._wanted[number]].search(text, place)
            if found is None:
                break
            number, place = number + 1, found.end()
        return number, place

    def _begun(self, text: bytes, due: bytes, place: int) -> int:
        """Return how much of ``due``, short of all of it, the text behind ``place`` ends in at most."""
        for length in range(min(len(due) - 1, len(text) - place), 0, -1):
            begin = len(text) - length
            if text.endswith(due[:length]) and _is_apart(text, begin, due):
                return length
        return 0

    def _missing(self, text: bytes, number: int, place: int) -> int:
        if number == len(self._wanted):
            return 0
        due = self._wanted[number]
        begun = self._begun(text, due, place)
        rest = self._longest(due[begun:] if begun else _with_space(text, due)) or ()
        return len(rest) + self._num_words_from[number + 1]

    def _ends_in_another(self, text: bytes, due: bytes) -> bool:
        for length in self._lengths:
            begin = len(text) - length
            wanted = text[begin:] if begin >= 0 else b""
            if wanted != due and wanted in self._finders and _is_apart(text, begin, wanted):
                return True
        return False

    def _out_of_turn(self, text: bytes, due: bytes | None) -> set[int]:
        """Return the words that would complete another placeholder than the one that is due."""
        banned = self._surely_out_of_turn(due, bool(text) and is_of_word(text[-1]))
        for length in range(1, min(self._longest_beginning, len(text)) + 1):
            begin = len(text) - length
            for wanted, words in self._completing_after.get(text[begin:], ()):
                if wanted != due and _is_apart(text, begin, wanted):
                    banned |= words
        return banned

    def _surely_out_of_turn(self, due: bytes | None, is_behind_word: bool) -> set[int]:
        """Return those of them that depend on nothing of the text but whether it ends in a letter or digit."""
        num_completed = self._num_completed[is_behind_word]
        banned = set(num_completed)
        if due is not None:
            of_due = self._completing_at_once(due, is_behind_word)
            banned.difference_update(word for word in of_due if num_completed[word] == 1)
        return banned

    def _completing_at_once(self, text: bytes, is_behind_word: bool) -> frozenset[int]:
        """Return the words that have all of a placeholder, whatever is before them."""
        completing = self._completing[text]
        if is_behind_word and is_of_word(text[0]):
            return completing.anywhere
        return completing.anywhere | completing.after.get(b"", frozenset())


def can_be_spelt(text: str, spellings: Spellings) -> bool:
    """Return whether the vocabulary has what it takes, from any place in the text on."""
    return all(spellings.spelt(text[start:].encode()) is not None for start in range(len(text))) and (
        spellings.spelt(f" {text}".encode()) is not None
    )


def _sums_from(numbers: Sequence[int]) -> list[int]:
    """Return the sum of the numbers from each place on; the last is 0."""
    return [*accumulate(reversed(numbers), initial=0)][::-1]


def _finder(text: bytes) -> re.Pattern[bytes]:
    """Return what finds the text where it is no part of a longer word."""
    before = rb"(?<!" + _WORD + rb")" if is_of_word(text[0]) else b""
    behind = rb"(?!" + _WORD + rb")" if is_of_word(text[-1]) else b""
    return re.compile(before + re.escape(text) + behind)


def _with_space(text: bytes, due: bytes) -> bytes:
    """Return what is to be spelt behind the text so that there is a space before ``due``."""
    return due if text.endswith(b" ") else b" " + due


def _is_apart(text: bytes, begin: int, wanted: bytes) -> bool:
    """Return whether ``wanted``, were it to begin there, would not go on with the word before it."""
    return not (begin and is_of_word(text[begin - 1]) and is_of_word(wanted[0]))


def _completing(text: bytes, spellings: Spellings) -> _Completing:
    after = {}
    for length in range(len(text)):
        rest = text[length:]
        words = frozenset(
            word for word in spellings.beginning_with(rest) if not _goes_on(text, spellings.bytes_of[word], len(rest))
        )
        if words:
            after[text[:length]] = words
    finder = _finder(text)
    has_it_inside = (word for word in spellings.containing(text) if finder.search(spellings.bytes_of[word], 1))
    return _Completing(after, frozenset(has_it_inside))


def _goes_on(text: bytes, word: bytes, end: int) -> bool:
    """Return whether the word goes on behind ``end``, so that the text would be a part of a longer word."""
    return len(word) > end and is_of_word(word[end]) and is_of_word(text[-1])
