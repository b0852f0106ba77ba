"""Sentences as 64-bit numbers: enough to recognise them again among hundreds of millions."""

from __future__ import annotations

import hashlib
from array import array

_LARGEST_LOAD = 2 / 3


def hash64(text: str) -> int:
    """Return a 64-bit hash, never 0, that is the same in every process and on every machine.

    Among 36 million sentences two different ones share it with probability 4e-5.
    """
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


class HashSet:
    """A set of `hash64` numbers in 12 to 24 bytes each (a Python set takes about 90).

    Open addressing with linear probing; 0 marks a free slot.
    """

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * 1024))
        self._num_used = 0

    def __len__(self) -> int:
        return self._num_used

    def __contains__(self, number: int) -> bool:
        return self._slots[self._slot_of(number)] == number

    def add(self, number: int) -> bool:
        """Put the number in; False when it was there already."""
        slot = self._slot_of(number)
        if self._slots[slot] == number:
            return False
        self._slots[slot] = number
        self._num_used += 1
        if self._num_used > _LARGEST_LOAD * len(self._slots):
            self._grow()
        return True

    def _slot_of(self, number: int) -> int:
        """Find where the number is, or the free slot where it belongs."""
        slots = self._slots
        mask = len(slots) - 1
        slot = number & mask
        found = slots[slot]
        while found != 0 and found != number:
            slot = (slot + 1) & mask
            found = slots[slot]
        return slot

    def _grow(self) -> None:
        old = self._slots
        self._slots = array("Q", bytes(8)) * (2 * len(old))
        for number in old:
            if number:
                self._slots[self._slot_of(number)] = number


class RecentHashes:
    """The latest of a stream of `hash64` numbers, in bounded memory."""

    def __init__(self, least_remembered: int = 1 << 24) -> None:
        """Begin with none. At least ``least_remembered`` numbers are remembered, and at most twice as many: of 2^24 at
        least, in 0.5 GB at most."""
        self._least = least_remembered
        self._older, self._newer = HashSet(), HashSet()

    def add(self, number: int) -> bool:
        """Put the number in; False when it was among those that are remembered."""
        if number in self._older or not self._newer.add(number):
            return False
        if len(self._newer) >= self._least:
            self._older, self._newer = self._newer, HashSet()
        return True
