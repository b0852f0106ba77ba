"""Search source: what a search is given of one sentence, where it takes the next ones from, and what a search is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.search.hypothesis import Hypothesis
from mtmoe.inference.search.search_constraints import SourceConstraints
from mtmoe.inference.search.search_options import SearchOptions


class SearchSource(NamedTuple):
    """A source of one search.

    key: what its hypotheses are told with. ids: subwords without special symbols, at least one. keep_attention: whether
    they carry their attention, in a search whose options keep it.
    """

    key: int
    ids: Sequence[int]
    task: SearchTask
    constraints: SourceConstraints
    keep_attention: bool = True

    @classmethod
    def of(cls, key: int, ids: Sequence[int], task: SearchTask, options: SearchOptions) -> SearchSource:
        """Return a source with the constraints that its task and the options ask for.

        Raises:
            UserError: the options exclude what the task needs.
        """
        return cls(key, ids, task, SourceConstraints(task, len(ids), options))


class SourceQueue(Protocol):
    """Sources that no search has taken yet; a search asks after each step."""

    @property
    def is_over(self) -> bool:
        """Return whether no source is left."""
        ...

    def take(self, num_wanted: Callable[[SearchSource, int], int]) -> list[SearchSource]:
        """Return the next ones.

        ``num_wanted(next source, number waiting)`` says how many, and is asked only if there are any.
        """
        ...


class SourceSearch(Protocol):
    """A search among sources that it takes one after the other from those that wait."""

    def run(self) -> Iterator[tuple[int, list[Hypothesis]] | None]:
        """Yield keys of sources and their hypotheses, as :meth:`mtmoe.inference.search.beam_search.BeamSearch.run`."""

    def drop(self, keys: Iterable[int]) -> None:
        """Search no longer for sources that have entered."""


@runtime_checkable
class SearchesItself(Protocol):
    """A model that has a search of its own, faster than step by step."""

    def open_search(
        self,
        options: SearchOptions,
        batch_tokens: int,
        waiting: SourceQueue,
        others: Callable[[SourceQueue], SourceSearch],
        not_words: slice | list[int],
        *,
        takes_all: bool,
    ) -> SourceSearch | None:
        """Return it; None where it cannot do what the options say.

        Args:
            batch_tokens: as for :func:`mtmoe.inference.search.beam_search.search_all`.
            others: opens a search for the sources that it leaves out.
            not_words: special symbols that are no candidates, as an index into the vocabulary.
            takes_all: whether all sources wait already.
        """


_REFILL_SHARE = 4
"""Sources enter when so large a part (1/4) of a batch is free, so that they are encoded together."""


def num_entering(next_source: SearchSource, num_waiting: int, *, capacity: int, num_inside: int, longest: int) -> int:
    """Return how many sources a search has room for, 0 if it is better to wait until there is more.

    Args:
        next_source: the longest of those that may enter.
        capacity: source tokens that are searched at a time, EOS and padding included.
        num_inside: sources that are being searched for; the longest of them has ``longest`` tokens, EOS included.
    """
    most = max(1, capacity // max(longest, len(next_source.ids) + 1))
    room = most - num_inside
    return 0 if num_inside and room < min(-(-most // _REFILL_SHARE), num_waiting) else room
