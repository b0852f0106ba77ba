"""Phrases (lexical constraints) that a translation must have.

They say how far a hypothesis has come with each, and how many words are still needed.

A phrase is looked for in what a hypothesis spells, not in its subwords, for one text has many segmentations. In
languages that divide words by spaces it counts as whole words only: no letter, digit, mark or low line of the text may
follow its last one or come before its first one. So what ends in a phrase has it only if the word ends there, too;
until that is known the phrase is there, but can still be broken by a subword that goes on with the word.

Everything is a function of the words of a hypothesis. Where it has come to is a :class:`Progress`, of which there are
few, so that what was computed of one is kept. The least number of words that complete all phrases is a shortest path
over them, exact for as many phrases as make at most ``_MOST_STATES`` of them, with one phrase after the other beyond.
"""

from __future__ import annotations

import bisect
import unicodedata
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from mtmoe.inference.text.spelling import spelling
from mtmoe.vocabulary import NUM_SPECIAL

Words = tuple[int, ...]

_SIGN, _OF_WORD, _SPACE = range(3)  # kinds of characters
_MOST_STATES = 1000
_MOST_REMEMBERED = 20_000


def occurs(phrase: Words, ids: Words, going_on: frozenset[int] = frozenset()) -> bool:
    """Return whether ``ids`` has the words of the phrase one after the other, and none of ``going_on`` behind them."""
    length = len(phrase)
    return any(
        ids[start : start + length] == phrase and going_on.isdisjoint(ids[start + length : start + length + 1])
        for start in range(len(ids) - length + 1)
    )


def is_of_word(character: str) -> bool:
    """Return whether a character belongs to a word: a letter, digit, low line, mark or joiner.

    So do those of which nothing is left in the normal form of a line, for what is around them is then side by side; and
    a byte of which it is not known what it is a part of.
    """
    if character.isalnum() or character == "_":
        return True
    # Marks (M) spell vowels in many scripts; joiners (U+200C, U+200D) and control characters are C.
    return not character.isspace() and unicodedata.category(character)[0] in "MC"


def _kind(character: str) -> int:
    if is_of_word(character):
        return _OF_WORD
    return _SPACE if character.isspace() else _SIGN


class PieceTexts:
    """A vocabulary by the characters that its subwords spell; a byte that is no character by itself is a surrogate."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self.text_of = [
            spelling(piece_id, pieces).decode("utf-8", "surrogateescape") if piece_id >= NUM_SPECIAL else ""
            for piece_id in range(len(pieces))
        ]
        written = [(text, piece_id) for piece_id, text in enumerate(self.text_of) if text]
        # Where a byte and a character spell the same, the character: it comes later in the vocabulary.
        self.id_of = dict(written)
        self._sorted = sorted(written)
        self._longest = max((len(text) for text, _ in written), default=0)
        kinds: dict[tuple[int, int], set[int]] = defaultdict(set)
        for text, piece_id in written:
            kinds[_kind(text[0]), _kind(text[-1])].add(piece_id)
        self.kinds = {kind: frozenset(members) for kind, members in kinds.items()}
        """Subwords by the kinds of their first and their last character."""
        self.going_on = frozenset().union(*(members for (first, _), members in kinds.items() if first == _OF_WORD))
        """Subwords that go on with the word before them."""

    def text(self, ids: Iterable[int]) -> str:
        """Return what subwords spell together."""
        return "".join(map(self.text_of.__getitem__, ids))

    def prefixes(self, text: str) -> Iterator[int]:
        """Yield the subwords that the text begins with, the longest first."""
        for length in range(min(self._longest, len(text)), 0, -1):
            if (found := self.id_of.get(text[:length])) is not None:
                yield found

    def beginning_with(self, text: str) -> Iterator[int]:
        """Yield the subwords that begin with the text and go on."""
        for place in range(bisect.bisect_right(self._sorted, (text, len(self.text_of))), len(self._sorted)):
            content, piece_id = self._sorted[place]
            if not content.startswith(text):
                return
            yield piece_id

    def spelt(self, text: str) -> Words | None:
        """Return the text by longest subwords from left to right; None if no subword spells a part of it."""
        ids: list[int] = []
        while text:
            found = next(self.prefixes(text), None)
            if found is None:
                return None
            ids.append(found)
            text = text[len(self.text_of[found]) :]
        return tuple(ids)

    def overlapping(self, text: str) -> Iterator[int]:
        """Yield the subwords in which the text may begin at a place of theirs."""
        for content, piece_id in self._sorted:
            place = content.find(text[0])
            while place >= 0:
                rest = content[place : place + len(text)]
                if text.startswith(rest):
                    yield piece_id
                    break
                place = content.find(text[0], place + 1)


class Phrase(NamedTuple):
    """text: what must be there, characters or, for those who have no text, words. ids: the words that write it
    wherever one stands. joined: without a space, behind a bracket or an apostrophe; () if there is no such way."""

    text: Sequence[Any]
    ids: Words
    joined: Words = ()


class Progress(NamedTuple):
    """done: a bit for each phrase that is there for good. begun: numbers of phrases, and how much of each stands at the
    end; all of it: the phrase is there unless the word goes on. last: the kind of the last character."""

    done: int = 0
    begun: tuple[tuple[int, int], ...] = ()
    last: int = _SIGN


class Phrases:
    """Of one translation. Not for several threads at once."""

    def __init__(
        self,
        phrases: Sequence[Phrase],
        texts: PieceTexts | None = None,
        *,
        whole: bool = False,
        own_only: bool = False,
    ) -> None:
        """Take phrases of which each is once enough.

        Args:
            texts: what words spell; None if the text of a phrase is its words.
            whole: whether phrases count as whole words only.
            own_only: count on no words but those that a phrase is written with (:attr:`words`).

        Raises:
            ValueError: a phrase without words.
        """
        if not all(phrase.ids for phrase in phrases):
            raise ValueError("a phrase without subwords cannot be asked for")
        self._phrases = list({tuple(phrase.text): phrase for phrase in phrases}.values())
        self._texts, self._whole, self._own_only = texts, whole, own_only
        self._starts: dict[Any, list[int]] = defaultdict(list)
        for number, phrase in enumerate(self._phrases):
            self._starts[phrase.text[0]].append(number)
        self._is_coarse = 2 ** min(40, len(self)) * sum(len(phrase.text) + 1 for phrase in self._phrases) > _MOST_STATES
        self._progress: dict[Words, Progress] = {(): Progress()}
        self._steps: dict[tuple[Progress, int], Progress] = {}
        self._missing: dict[Progress, int] = {}
        self._distances: dict[Progress, int] = {}
        self._sources: dict[Progress, list[Progress]] = {}
        self._rests: dict[tuple[int, int], Words] = {}
        self._starting: frozenset[int] | None = None
        self._words: frozenset[int] | None = None

    @classmethod
    def of_words(cls, phrases: Iterable[Words]) -> Phrases:
        """Return phrases that are sequences of words, wherever they stand."""
        return cls([Phrase(ids, ids) for ids in phrases])

    def __len__(self) -> int:
        return len(self._phrases)

    @property
    def room(self) -> int:
        """Return how many words suffice, one phrase after the other, whatever comes before."""
        return sum(len(phrase.ids) for phrase in self._phrases)

    @property
    def words(self) -> frozenset[int]:
        """Return the words that a phrase can be written with: parts of it, with a space before it."""
        if self._words is None:
            words = {word for phrase in self._phrases for word in (*phrase.ids, *phrase.joined)}
            if self._texts is not None:
                for phrase in self._phrases:
                    text = f" {phrase.text}"
                    words.update(*(self._texts.prefixes(text[place:]) for place in range(len(text))))
            self._words = frozenset(words)
        return self._words

    # ------------------------------------------------------------------------------------------- where one stands

    def after(self, ids: Words) -> Progress:
        """Return how far a hypothesis has come."""
        if not self._phrases:
            return Progress()
        found = self._progress.get(ids)
        if found is None:
            known = len(ids)
            while (found := self._progress.get(ids[:known])) is None:
                known -= 1
            for length in range(known, len(ids)):
                found = self.step(found, ids[length])
            if len(self._progress) > _MOST_REMEMBERED:
                self._progress = {(): Progress()}
            self._progress[ids] = found
        return found

    def step(self, progress: Progress, word: int) -> Progress:
        """Return how far one has come with one more word."""
        found = self._steps.get((progress, word))
        if found is None:
            found = self._steps[progress, word] = self._read(
                progress, (word,) if self._texts is None else self._texts.text_of[word]
            )
        return found

    def _read(self, progress: Progress, symbols: Sequence[Any]) -> Progress:
        done, begun, last = progress
        standing = list(begun)
        for symbol in symbols:
            kind = _SIGN if self._texts is None else _kind(symbol)
            if kind == last == _SPACE:  # of spaces in a row one is printed
                continue
            of_word = self._whole and kind == _OF_WORD
            grown = []
            for number, length in standing:
                text = self._phrases[number].text
                if length == len(text):
                    if not of_word:
                        done |= 1 << number
                elif text[length] == symbol:
                    grown.append((number, length + 1))
            if not (of_word and last == _OF_WORD):
                grown += [(number, 1) for number in self._starts.get(symbol, ())]
            if not of_word:
                for number, length in grown:
                    if length == len(self._phrases[number].text):
                        done |= 1 << number
            standing = [(number, length) for number, length in grown if not done >> number & 1]
            last = kind
        return Progress(done, tuple(sorted(standing)), last)

    def open_phrases(self, progress: Progress) -> list[int]:
        """Return the numbers of phrases that are not there."""
        there = self._complete(progress)
        return [number for number in range(len(self)) if not progress.done >> number & 1 and number not in there]

    def is_there(self, progress: Progress) -> bool:
        """Return whether a hypothesis that ends here has all."""
        return not self.open_phrases(progress)

    def _complete(self, progress: Progress) -> set[int]:
        return {number for number, length in progress.begun if length == len(self._phrases[number].text)}

    # -------------------------------------------------------------------------------------------- what is needed

    def room_after_any(self, progress: Progress) -> int:
        """Return words that suffice to complete all whatever comes next, even if it breaks a word that is complete."""
        return sum(len(phrase.ids) for number, phrase in enumerate(self._phrases) if not progress.done >> number & 1)

    def distance_behind(self, progress: Progress, *, is_word: bool) -> int | None:
        """Return words that suffice to complete all and do not go on with what is there; None if that is not known.

        ``is_word``: whether there is anything that letters could go on with.
        """
        if self.is_there(progress):
            return 0
        if is_word and not self._whole:
            return None  # every way to write it may do so
        done = progress.done
        for number in self._complete(progress):
            done |= 1 << number
        return self.distance(Progress(done, (), _OF_WORD))

    def num_missing(self, progress: Progress) -> int:
        """Return words that suffice to complete all phrases one after the other, what is begun first."""
        found = self._missing.get(progress)
        if found is None:
            found = self._missing[progress] = self._one_after_the_other(progress)
        return found

    def _one_after_the_other(self, progress: Progress) -> int:
        there = self._complete(progress)
        still_open = self.open_phrases(progress)
        in_all = sum(len(self._phrases[number].ids) for number in still_open)
        best = in_all
        for number, length in progress.begun:
            if number in there:
                continue
            rest = self._rest(number, length)
            if rest:
                best = min(best, in_all - len(self._phrases[number].ids) + len(rest) + self._broken(there, rest[0]))
        return best

    def _broken(self, there: set[int], word: int) -> int:
        """Return how many words write the phrases that are no longer there if ``word`` goes on with theirs."""
        if not there or self._texts is None or not is_of_word(self._texts.text_of[word][0]):
            return 0
        return sum(len(self._phrases[number].ids) for number in there)

    def distance(self, progress: Progress) -> int:
        """Return the least number of words that complete all phrases, unless there are too many of them: then
        :meth:`num_missing`."""
        if self._is_coarse:
            return self.num_missing(progress)
        if progress not in self._distances:
            self._explore(progress)
        return self._distances[progress]

    def advancing(self, ids: Words) -> frozenset[int]:
        """Return the words that bring a phrase forward which is not there, as it is best written."""
        progress = self.after(ids)
        words: set[int] = set()
        for number in self.open_phrases(progress):
            phrase = self._phrases[number]
            behind = self._behind(phrase, ids)
            if behind is not None:
                words.add(behind)
                continue
            lengths = [length for one, length in progress.begun if one == number]
            if lengths and (rest := self._rest(number, max(lengths))):
                words.add(rest[0])
            words.update(self._beginnings(phrase, ids))
        return frozenset(words)

    def _behind(self, phrase: Phrase, ids: Words) -> int | None:
        """Return the next word of a phrase that is being written as it is best written."""
        for way in (phrase.ids, phrase.joined):
            for length in range(min(len(way) - 1, len(ids)), 0, -1):
                if ids[len(ids) - length :] == way[:length]:
                    return way[length]
        return None

    def _beginnings(self, phrase: Phrase, ids: Words) -> Iterator[int]:
        """Yield the words that begin a phrase: behind a space, and without one where a word can stand so."""
        can_join = bool(phrase.joined and ids) and (not self._whole or self._can_be_joined_to(ids[-1]))
        if can_join:
            yield phrase.joined[0]
        if self._whole or not can_join:
            yield phrase.ids[0]

    def _can_be_joined_to(self, word: int) -> bool:
        """Return whether words are written behind it without a space, as behind l', ( and «.

        Behind other signs such a word counts, too, but is not proposed.
        """
        last = self._texts.text_of[word][-1:] if self._texts is not None else ""
        return bool(last) and (last in "'’/ " or unicodedata.category(last) in ("Ps", "Pi"))

    def _rest(self, number: int, length: int) -> Words:
        """Return the words behind the first ``length`` symbols of a phrase; () if there are none."""
        found = self._rests.get((number, length))
        if found is None:
            found = self._rests[number, length] = self._written_from(self._phrases[number], length)
        return found

    def _written_from(self, phrase: Phrase, length: int) -> Words:
        if self._texts is None:
            return phrase.ids[length:]
        rest = phrase.text[length:]
        for way in (phrase.ids, phrase.joined):
            for place in range(1, len(way)):
                if self._texts.text(way[place:]) == rest:
                    return way[place:]
        return self._texts.spelt(str(rest)) or ()

    # ------------------------------------------------------------------------------------------- where room is tight

    def concerned(self, ids: Words) -> set[int]:
        """Return the words that have something of a phrase; of very many phrases, those of :meth:`advancing`."""
        if self._is_coarse:
            return set(self.advancing(ids))
        return self._concerned(self.after(ids))

    def unfit(self, progress: Progress, room: int) -> frozenset[int] | None:
        """Return, of the words that have nothing of a phrase, those after which ``room`` words do not suffice to
        complete all, possibly with others; None if these are all."""
        if self._texts is None:
            return frozenset() if self.distance(Progress(progress.done)) <= room else None
        unfit: set[int] = set()
        is_all = True
        for kinds, members in self._texts.kinds.items():
            if self.distance(self._unconcerned(progress, *kinds)) <= room:
                is_all = False
            else:
                unfit |= members
        return None if is_all else frozenset(unfit)

    def _unconcerned(self, progress: Progress, first: int, last: int) -> Progress:
        """Return how far one has come after a word that has nothing of a phrase.

        ``first``, ``last``: kinds of its first and last character.
        """
        done = progress.done
        if not (self._whole and first == _OF_WORD):
            for number in self._complete(progress):
                done |= 1 << number
        return Progress(done, (), last)

    def _concerned(self, progress: Progress) -> set[int]:
        """Return all words that do not leave what :meth:`_unconcerned` says."""
        words = set(self._beginning())
        for number, length in progress.begun:
            rest = self._phrases[number].text[length:]
            if len(rest) and self._texts is None:
                words.add(rest[0])
            elif len(rest) and self._texts is not None:
                for going_on in (rest, f" {rest}") if progress.last == _SPACE else (rest,):
                    words.update(self._texts.prefixes(str(going_on)))
                    if not self._own_only:
                        words.update(self._texts.beginning_with(str(going_on)))
        return words & self.words if self._own_only else words

    def _beginning(self) -> frozenset[int]:
        """Return the words in which a phrase may begin."""
        if self._starting is None:
            if self._texts is None:
                self._starting = frozenset(phrase.ids[0] for phrase in self._phrases)
            else:
                self._starting = frozenset().union(*(self._texts.overlapping(str(p.text)) for p in self._phrases))
        return self._starting

    def _explore(self, first: Progress) -> None:
        """Find all that can be come to from ``first``, and the distance of each."""
        waiting = [first]
        self._sources.setdefault(first, [])
        while waiting:
            progress = waiting.pop()
            if self.is_there(progress):
                continue
            for following in self._followers(progress):
                if following not in self._sources:
                    self._sources[following] = []
                    waiting.append(following)
                self._sources[following].append(progress)
        ends = [progress for progress in self._sources if self.is_there(progress)]
        self._distances = dict.fromkeys(ends, 0)
        queue = deque(ends)
        while queue:
            progress = queue.popleft()
            for source in self._sources[progress]:
                if source not in self._distances:
                    self._distances[source] = self._distances[progress] + 1
                    queue.append(source)

    def _followers(self, progress: Progress) -> set[Progress]:
        concerned = self._concerned(progress)
        followers = {self.step(progress, word) for word in concerned}
        if self._texts is not None and not self._own_only:
            followers |= {
                self._unconcerned(progress, *kind)
                for kind, members in self._texts.kinds.items()
                if not members <= concerned
            }
        elif self._texts is not None:
            followers |= {self.step(progress, word) for word in self._texts.prefixes(" ")}
        return followers


NO_PHRASES = Phrases([])


def written(ids: Words, texts: PieceTexts) -> Phrase:
    """Return the phrase that subwords spell, white space before it left out."""
    text = texts.text(ids).lstrip(" ")
    first = texts.text_of[ids[0]]
    if first == " ":
        return Phrase(text, ids, ids[1:])
    stripped = texts.id_of.get(first[1:]) if first.startswith(" ") else ids[0]
    return Phrase(text, ids, texts.spelt(text) or () if stripped is None else (stripped, *ids[1:]))
