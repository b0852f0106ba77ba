"""Near duplicates: texts that share most of their n-grams with one that was read before, found in bounded memory.

Candidates are found by locality-sensitive hashing: a signature (:mod:`.minhash`) is cut into bands, and texts that
agree in a whole band are compared. Of two texts with similarity 0.8 a band agrees with a probability above 0.9999999,
of 0.6 with 0.988, of 0.5 with 0.87. A candidate counts by what the whole signatures say. Where very many texts share
their n-grams, a few are missed: a band has room for the latest text alone.

Letters: F hash functions, X remembered texts, A bands.
"""

from __future__ import annotations

import numpy as np

from mtmoe.data.cleaning.minhash import NUM_HASHES, similarities

LEAST_SIMILARITY = 0.5
"""Below this, bands miss too many."""
MOST_REMEMBERED = 1 << 21
"""Texts that are remembered by default, in 256 bytes each: half a gigabyte. Of more, the oldest are forgotten."""
_FIRST_ROOM = 1 << 10
_ROWS = 4  # bytes of a band: they are read as one number
_NUM_BANDS = NUM_HASHES // _ROWS
_BANDS_A = np.arange(_NUM_BANDS)
_FACTORS_A = np.arange(1, 2 * _NUM_BANDS, 2, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # odd


class NearDuplicateIndex:
    """Remembers signatures, and tells how similar the most similar of them is to another."""

    def __init__(self, most_remembered: int = MOST_REMEMBERED) -> None:
        """Begin with nothing remembered.

        Raises:
            ValueError: ``most_remembered`` is no power of two from 1,024 to 2^31.
        """
        if most_remembered.bit_count() != 1 or not _FIRST_ROOM <= most_remembered <= 1 << 31:
            raise ValueError(f"{most_remembered} is no power of two from {_FIRST_ROOM:,} to 2^31")
        self._most = most_remembered
        self._num_added = 0
        self._make_room(_FIRST_ROOM)

    def __len__(self) -> int:
        """Return how many texts are remembered."""
        return min(self._num_added, self._most)

    def nearest(self, signature_F: np.ndarray) -> float:
        """Return the estimated similarity of the most similar text that is remembered; 0.0 if none comes near."""
        places = set(self._places_AX[_BANDS_A, self._slots(signature_F)].tolist()) - {0}
        if not places:
            return 0.0
        return float(similarities(signature_F, self._signatures_XF[[place - 1 for place in places]]).max())

    def add(self, signature_F: np.ndarray) -> None:
        """Remember a text, if need be in place of the oldest."""
        room = len(self._signatures_XF)
        if self._num_added == room < self._most:
            self._grow(2 * room)
        place = self._num_added % len(self._signatures_XF)
        self._num_added += 1
        self._enter(place, signature_F)

    def _enter(self, place: int, signature_F: np.ndarray) -> None:
        self._signatures_XF[place] = signature_F
        # A slot has room for one text, the latest: an older one that agrees in this band has 31 others.
        self._places_AX[_BANDS_A, self._slots(signature_F)] = place + 1

    def _slots(self, signature_F: np.ndarray) -> np.ndarray:
        bands_A = np.ascontiguousarray(signature_F).view("<u4").astype(np.uint64)
        return ((bands_A * _FACTORS_A) >> np.uint64(32)) & np.uint64(self._places_AX.shape[1] - 1)

    def _make_room(self, room: int) -> None:
        self._signatures_XF = np.zeros((room, NUM_HASHES), np.uint8)
        self._places_AX = np.zeros((_NUM_BANDS, room), np.uint32)

    def _grow(self, room: int) -> None:
        before_XF = self._signatures_XF
        self._make_room(room)
        for place, signature_F in enumerate(before_XF):
            self._enter(place, signature_F)
