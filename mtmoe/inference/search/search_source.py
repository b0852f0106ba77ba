"""Search source: what a search is given of one sentence, and where it takes the next ones from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from mtmoe.inference.constraints.search_task import SearchTask
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
