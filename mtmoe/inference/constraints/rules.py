"""What a user may ask of a translation: how it begins, phrases that must occur in it, placeholders of the source, no
phrase of words twice.

Functions of the words of a hypothesis so far and nothing else, so that nothing has to be carried along and reordered
with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from mtmoe.inference.constraints.phrases import Words
from mtmoe.inference.constraints.placeholders import NO_DEMAND
from mtmoe.inference.search.hypothesis import SearchTask


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
    phrases, progress = task.phrases, task.phrases.after(ids)
    placeholders = task.placeholders.demand(ids) if task.placeholders else NO_DEMAND
    banned = repeating_words(ids, no_repeat_ngram) | placeholders.banned
    is_complete = phrases.is_there(progress) and not placeholders.num_missing
    may_end = is_complete and len(ids) >= min_length
    needed = phrases.room_after_any(progress) + placeholders.room
    if not needed:
        return Rule(banned=banned, may_end=may_end)
    advancing = phrases.advancing(ids) - placeholders.breaking - placeholders.closing
    room_behind = max_length - len(ids) - 1
    if needed <= room_behind:  # any word leaves room enough, whatever it breaks off
        return Rule(advancing | placeholders.allowed, banned=banned, may_end=may_end)
    concerned = phrases.concerned(ids) | (
        task.placeholders.concerned(ids) if task.placeholders and placeholders.num_missing else set()
    )
    fitting = frozenset(word for word in concerned if _least_room((*ids, word), task) <= room_behind)
    best = fitting - placeholders.breaking - placeholders.banned or fitting
    room_for_placeholders = task.placeholders.needed(ids).anew if task.placeholders else 0
    unfit = phrases.unfit(progress, room_behind - room_for_placeholders)
    if unfit is None:
        return Rule(best, only=True, may_end=may_end)
    return Rule(best & (advancing | placeholders.allowed), banned=banned | (unfit - best), may_end=may_end)


def _least_room(ids: Words, task: SearchTask) -> float:
    """Words that suffice to complete everything after ``ids``: the least number for the phrases, and
    then all placeholders; or the placeholder that is begun, then the phrases, then the other placeholders."""
    phrases, progress = task.phrases, task.phrases.after(ids)
    if not task.placeholders:
        return phrases.distance(progress)
    needed = task.placeholders.needed(ids)
    first = phrases.distance_behind(progress, is_word=True) if needed.is_closed else phrases.distance(progress)
    least = math.inf if first is None else first + needed.anew
    if needed.rest is None:
        return least
    for word in needed.rest if len(phrases) else ():
        progress = phrases.step(progress, word)
    following = phrases.distance_behind(progress, is_word=needed.ends_in_word)
    return least if following is None else min(least, needed.going_on + following)


def room_for(task: SearchTask) -> int:
    """Words that a translation needs at least to have everything that is asked of it (placeholders: that suffice)."""
    room = len(task.prefix_ids) + (task.placeholders.room if task.placeholders else 0)
    return room + (task.phrases.distance(task.phrases.after(task.prefix_ids)) if len(task.phrases) else 0)


def longest_for(task: SearchTask, max_length: int) -> int:
    """``max_length``, or what the task needs if that is more."""
    placeholders = task.placeholders.room if task.placeholders else 0
    if (
        len(task.prefix_ids) + task.phrases.room + placeholders <= max_length
    ):  # what is needed at least takes time to find
        return max_length
    return max(max_length, room_for(task))


def num_missing_of(ids: Words, task: SearchTask) -> int:
    """Words that suffice to complete all phrases and placeholders of the task."""
    placeholders = task.placeholders.num_missing(ids) if task.placeholders else 0
    return task.phrases.num_missing(task.phrases.after(ids)) + placeholders


def repeating_words(ids: Words, size: int) -> frozenset[int]:
    """Words that would end a sequence of ``size`` words which ``ids`` already contains; none if ``size`` is 0."""
    if not size or len(ids) < size:
        return frozenset()
    last = ids[len(ids) - size + 1 :]
    return frozenset(ids[end] for end in range(size - 1, len(ids)) if ids[end - size + 1 : end] == last)
