"""What a user may ask of a translation: how it begins, phrases that must occur in it, copies of what the source has, no
phrase of words twice.

Functions of the words of a hypothesis so far and nothing else, so that nothing has to be carried along and reordered
with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mtmoe.inference.copies import NO_DEMAND
from mtmoe.inference.hypothesis import SearchTask
from mtmoe.inference.phrases import Words, occurs


class Rule(NamedTuple):
    """What may come next after one hypothesis.

    allowed: words that are considered whatever their probability; only: nothing else is. banned: words that are not
    considered otherwise. may_end: whether EOS is. copied: those of ``allowed`` that soft terms offer and nothing
    demands, so that they are considered if they are likely enough.
    """

    allowed: frozenset[int] = frozenset()
    only: bool = False
    banned: frozenset[int] = frozenset()
    may_end: bool = True
    copied: frozenset[int] = frozenset()

    def with_copied(self, words: Iterable[int]) -> Rule:
        """The rule with what soft terms offer besides, where it is not forbidden."""
        copied = frozenset() if self.only else frozenset(words) - self.allowed - self.banned
        return self._replace(allowed=self.allowed | copied, copied=copied)


def rule_for(ids: Words, task: SearchTask, *, min_length: int, max_length: int, no_repeat_ngram: int) -> Rule:
    """What may come after ``ids``; lengths do not count EOS. At ``max_length`` nothing but EOS can come."""
    if len(ids) < len(task.prefix_ids):
        return Rule(frozenset({task.prefix_ids[len(ids)]}), only=True, may_end=False)
    copies = task.copies.demand(ids) if task.copies else NO_DEMAND
    banned = repeating_words(ids, no_repeat_ngram) | copies.banned
    still_open = [phrase for phrase in task.phrases_ids if not occurs(phrase, ids)]
    if not still_open and not copies.num_missing:
        return Rule(banned=banned, may_end=len(ids) >= min_length)
    allowed = (advancing_words(ids, still_open) - copies.breaking) | copies.allowed
    room_behind = max_length - len(ids) - 1
    if sum(map(len, still_open)) + copies.room <= room_behind:  # any word leaves room enough, whatever it breaks off
        return Rule(allowed, banned=banned, may_end=False)
    if not still_open:
        return Rule(frozenset({copies.forced}), only=True, may_end=False)
    # Any other word ends in the beginning of no phrase, and so leaves all of them to come. Copies come after them.
    words = frozenset().union(*still_open)
    room_behind -= copies.room
    fitting = {word for word in words if num_missing((*ids, word), still_open) <= room_behind}
    return Rule(frozenset(fitting - copies.breaking or fitting), only=True, may_end=False)


def room_for(task: SearchTask) -> int:
    """Words that a translation needs at least to have everything that is asked of it."""
    copies = task.copies.room if task.copies else 0
    return len(task.prefix_ids) + sum(len(phrase) for phrase in task.phrases_ids) + copies


def num_missing_of(ids: Words, task: SearchTask) -> int:
    """Words that suffice to complete all phrases and copies of the task."""
    return num_missing(ids, task.phrases_ids) + (task.copies.num_missing(ids) if task.copies else 0)


def repeating_words(ids: Words, size: int) -> frozenset[int]:
    """Words that would end a sequence of ``size`` words which ``ids`` already contains; none if ``size`` is 0."""
    if not size or len(ids) < size:
        return frozenset()
    last = ids[len(ids) - size + 1 :]
    return frozenset(ids[end] for end in range(size - 1, len(ids)) if ids[end - size + 1 : end] == last)


def num_missing(ids: Words, phrases: Sequence[Words]) -> int:
    """Words that suffice to complete all phrases that ``ids`` does not contain; 0 if there are none."""
    open_phrases = [phrase for phrase in phrases if not occurs(phrase, ids)]
    if not open_phrases:
        return 0
    return sum(map(len, open_phrases)) - max(_begun(phrase, ids) for phrase in open_phrases)


def advancing_words(ids: Words, phrases: Sequence[Words]) -> frozenset[int]:
    """The word after what ``ids`` ends in of each phrase that it does not contain."""
    return frozenset(phrase[_begun(phrase, ids)] for phrase in phrases if not occurs(phrase, ids))


def _begun(phrase: Words, ids: Words) -> int:
    """Length of the longest beginning of the phrase, short of all of it, that ``ids`` ends in."""
    return max(
        length for length in range(min(len(phrase), len(ids) + 1)) if ids[len(ids) - length :] == phrase[:length]
    )
