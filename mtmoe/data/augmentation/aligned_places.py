"""Places of a pair where an item may stand on both sides: in front of words that surely translate each other.

Letters: C candidates of a source subword.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mtmoe.data.prepared.lexicon import Lexicon

_CANDIDATES_LOOKED_AT = 3


class AlignedPlace(NamedTuple):
    """A word of the source and the word of the target that translates it, by their numbers from 0."""

    source: int
    target: int


class AlignedPlaces:
    """Finds such words by the lexicon of the training text."""

    def __init__(self, lexicon: Lexicon, pieces: Sequence[str]) -> None:
        """Get ready for a vocabulary; ``pieces``: all its subwords, by id."""
        self._candidates_VC = lexicon.candidates_VC[:, :_CANDIDATES_LOOKED_AT]
        self._begins_word_V = np.array([piece.startswith("▁") for piece in pieces])
        self._is_word_V = np.array(
            [piece.startswith("▁") and len(piece) > 1 and piece[1:].isalnum() for piece in pieces]
        )

    def find(self, source_ids: np.ndarray, target_ids: np.ndarray) -> list[AlignedPlace]:
        """Return the surely aligned words of a pair, in the order of the source; those that begin a side are left out.

        A source subword and a target subword are sure if the one's best translation is the other, each stands on its
        side once, and no other subword of the pair is among the best translations of the one or has the other among
        its own. Both begin a word.
        """
        candidates = self._candidates_VC[source_ids]
        in_target = np.isin(candidates, target_ids) & (candidates > 0)
        num_in_target = in_target.sum(axis=1)
        found = []
        for place in np.flatnonzero((num_in_target == 1) & in_target[:, 0]):
            source, target = int(source_ids[place]), int(candidates[place, 0])
            if not (place and self._is_word_V[source] and self._is_word_V[target]):
                continue
            if np.count_nonzero(source_ids == source) != 1 or np.count_nonzero(candidates == target) != 1:
                continue
            target_places = np.flatnonzero(target_ids == target)
            if len(target_places) == 1 and target_places[0]:
                found.append(
                    AlignedPlace(self._word(source_ids, int(place)), self._word(target_ids, int(target_places[0])))
                )
        return found

    def _word(self, ids: np.ndarray, place: int) -> int:
        """Return the number of the word that the subword at a place begins."""
        return int(np.count_nonzero(self._begins_word_V[ids[1 : place + 1]]))
