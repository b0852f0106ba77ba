"""Places of the sources that are in a search: numbers from 0, which are taken over by others when a source leaves.

So what is kept of each is in arrays as long as there are sources at a time, however many come in all.
"""

from __future__ import annotations

import heapq

import numpy as np

_FEWEST = 16


class Places:
    """Gives out the smallest free numbers."""

    def __init__(self) -> None:
        self._free: list[int] = []
        self._num_made = 0

    def take(self) -> int:
        """Return a free number, which is free no longer."""
        if self._free:
            return heapq.heappop(self._free)
        self._num_made += 1
        return self._num_made - 1

    def give_back(self, place: int) -> None:
        """Let others have a number."""
        heapq.heappush(self._free, place)


def with_room_for(values: np.ndarray, place: int) -> np.ndarray:
    """Return the array, or a longer copy of it that has the place; what is new in it is zero."""
    if place < len(values):
        return values
    longer = np.zeros(max(_FEWEST, 2 * (place + 1)), dtype=values.dtype)
    longer[: len(values)] = values
    return longer
