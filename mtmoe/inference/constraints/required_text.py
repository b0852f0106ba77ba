"""Required text: phrases (lexical constraints) and placeholders, which a translation must have.

Both are one rule, because the room that they need is exact only if it is computed together: where the greatest length
is near, a word is banned just where what is left would not suffice for all phrases and all placeholders.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from mtmoe.errors import UserError
from mtmoe.inference.constraints.decoding_rule import UNRESTRICTED, DecodingRule, PartialHypothesis, Restriction
from mtmoe.inference.constraints.phrases import Words
from mtmoe.inference.constraints.placeholders import NO_DEMAND
from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.search.search_options import SearchOptions


class RequiredText(DecodingRule):
    """Proposes the words that bring a phrase or a placeholder forward, and allows no end before all are there."""

    def __init__(self, tasks: Sequence[SearchTask]) -> None:
        """Keep the tasks of all sources."""
        self._tasks = tasks

    @classmethod
    def for_search(
        cls, tasks: Sequence[SearchTask], num_words_B: Sequence[int], options: SearchOptions
    ) -> RequiredText | None:
        """Build the rule; None where no task has phrases or placeholders.

        Raises:
            UserError: words are drawn, or beams are diverse.
        """
        if not any(task.has_required_text for task in tasks):
            return None
        if options.sampling or options.groups > 1:
            key = "sampling" if options.sampling else "diverse_beams"
            raise UserError(
                f"phrases and placeholders that must occur in a translation need one beam, but decoding.{key} is on",
                fix=f"leave out phrases, terms and decoding.placeholders, or [decoding.{key}]",
            )
        return cls(tasks)

    def restriction(self, hypothesis: PartialHypothesis) -> Restriction:
        """Return what brings the required text forward, so that there is always room for the rest."""
        task = self._tasks[hypothesis.source]
        if not task.has_required_text:
            return UNRESTRICTED
        return required_text_restriction(hypothesis.ids, task, hypothesis.max_length)

    def max_length(self, source: int, max_length: int) -> int:
        """Return ``max_length``, or what the required text of a source needs if that is more."""
        return longest_for(self._tasks[source], max_length)

    def shortlist_words(self, source: int) -> Iterable[int]:
        """Return the words that write the required text of a source."""
        task = self._tasks[source]
        return (*task.phrases.words, *(task.placeholders.words if task.placeholders else ()))

    def requires_text(self, source: int) -> bool:
        """Return whether a source has phrases or placeholders."""
        return self._tasks[source].has_required_text

    def num_missing(self, source: int, ids: Words) -> int:
        """Return how many words suffice to complete the required text of a source."""
        return num_missing_words(ids, self._tasks[source])


def required_text_restriction(ids: Words, task: SearchTask, max_length: int) -> Restriction:
    """Return what may come after ``ids``, which have the prefix of the task, so that there is room for all text."""
    phrases, progress = task.phrases, task.phrases.after(ids)
    placeholders = task.placeholders.demand(ids) if task.placeholders else NO_DEMAND
    banned = placeholders.banned
    may_end = phrases.is_there(progress) and not placeholders.num_missing
    needed = phrases.room_after_any(progress) + placeholders.room
    if not needed:
        return Restriction(banned=banned, may_end=may_end)
    advancing = phrases.advancing(ids) - placeholders.breaking - placeholders.closing
    room_behind = max_length - len(ids) - 1
    if needed <= room_behind:  # any word leaves room enough, whatever it breaks off
        return Restriction(advancing | placeholders.allowed, banned=banned, may_end=may_end)
    concerned = phrases.concerned(ids)
    if task.placeholders and placeholders.num_missing:
        concerned = concerned | task.placeholders.concerned(ids)
    fitting = frozenset(word for word in concerned if _least_room((*ids, word), task) <= room_behind)
    best = fitting - placeholders.breaking - placeholders.banned or fitting
    room_for_placeholders = task.placeholders.needed(ids).anew if task.placeholders else 0
    unfit = phrases.unfit(progress, room_behind - room_for_placeholders)
    if unfit is None:
        return Restriction(best, only_proposed=True, may_end=may_end)
    return Restriction(best & (advancing | placeholders.allowed), banned=banned | (unfit - best), may_end=may_end)


def _least_room(ids: Words, task: SearchTask) -> float:
    """Return how many words suffice to complete everything after ``ids``; infinite if that is not known.

    It is the lesser of two ways: as few as can be for the phrases and then all placeholders; or the placeholder that is
    begun, then the phrases, then the other placeholders.
    """
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
    """Return how many words a translation needs to have its prefix and all required text.

    It is the least number for the phrases, and one that suffices for the placeholders.
    """
    room = len(task.prefix_ids) + (task.placeholders.room if task.placeholders else 0)
    return room + (task.phrases.distance(task.phrases.after(task.prefix_ids)) if len(task.phrases) else 0)


def longest_for(task: SearchTask, max_length: int) -> int:
    """Return ``max_length``, or what the task needs if that is more."""
    placeholders = task.placeholders.room if task.placeholders else 0
    if len(task.prefix_ids) + task.phrases.room + placeholders <= max_length:
        return max_length
    return max(max_length, room_for(task))


def num_missing_words(ids: Words, task: SearchTask) -> int:
    """Return how many words suffice to complete all phrases and placeholders of the task."""
    placeholders = task.placeholders.num_missing(ids) if task.placeholders else 0
    return task.phrases.num_missing(task.phrases.after(ids)) + placeholders
