"""Threads: several searches at once in threads of one process, which share the model and the sources.

On a CPU a step of the search is many small operations, which more threads within each do not make faster: two searches
with one thread each do more than one search with two. (torch lets go of Python's lock in every operation.)
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import TypeVar

import torch

from mtmoe.inference.search.search_source import SearchSource

T = TypeVar("T")

MAX_SEARCHES = 4
"""About a quarter of a search's time is Python's, which one thread has at a time; and small batches are slow."""


class WaitingSources:
    """The sources that no search has taken yet, longest first, so that what does not fit into memory fails at once."""

    def __init__(self, sources: Sequence[SearchSource], *, num_searches: int = 1) -> None:
        """Sort the sources.

        ``num_searches``: how many share them; none takes more than its part of all at a time.
        """
        self._sources = deque(sorted(sources, key=lambda source: (-len(source.ids), source.key)))
        self._most = -(-len(sources) // num_searches)
        self._lock = threading.Lock()

    @property
    def is_over(self) -> bool:
        return not self._sources

    def take(self, num_wanted: Callable[[SearchSource, int], int]) -> list[SearchSource]:
        with self._lock:
            if not self._sources:
                return []
            number = min(num_wanted(self._sources[0], len(self._sources)), self._most, len(self._sources))
            return [self._sources.popleft() for _ in range(number)]


class _Ended:
    """What a search has to say last: nothing, or the error that ended it."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def run_in_threads(searches: Sequence[Callable[[], Iterator[T | None]]], num_threads: int = 1) -> Iterator[T]:
    """Yield everything that the searches find, as it comes; with more than one, each runs in a thread of its own.

    A search gives None now and then: there it can be left, when an error or Ctrl-C has ended the others.
    While they run, each computes with its share of ``num_threads``, at least one. An error in one of them ends all and
    is raised here.
    """
    if len(searches) == 1:
        yield from (item for item in searches[0]() if item is not None)
        return
    before = torch.get_num_threads()
    found: SimpleQueue[T | _Ended] = SimpleQueue()
    is_over = threading.Event()

    def run(search: Callable[[], Iterator[T | None]]) -> None:
        try:
            torch.set_num_threads(max(1, num_threads // len(searches)))
            for item in search():
                if item is not None:
                    found.put(item)
                if is_over.is_set():
                    break
        except BaseException as error:  # to be raised where the results are waited for
            found.put(_Ended(error))
        else:
            found.put(_Ended())

    threads = [threading.Thread(target=run, args=(search,), daemon=True) for search in searches]
    try:
        for thread in threads:
            thread.start()
        num_running = len(threads)
        while num_running:
            item = found.get()
            if not isinstance(item, _Ended):
                yield item
            elif item.error is not None:
                raise item.error
            else:
                num_running -= 1
    finally:
        is_over.set()
        try:
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        finally:  # also if Ctrl-C comes once more
            torch.set_num_threads(before)
