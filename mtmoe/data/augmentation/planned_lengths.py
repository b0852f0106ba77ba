"""How long changed pairs may get, so that batches can be planned without making them.

Capitals and typos are spelt with more subwords, items are added. How many more is measured once for each kind on some
pairs of the corpus. A changed pair that is longer than planned for stays as it is stored: that depends on the pair, the
epoch and the corpus, and not on the batch that it falls into.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mtmoe.data.augmentation.draws import Draws, Kinds

ChangedIds = Callable[[np.ndarray, Kinds], tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]]]
"""Makes changes of the same kinds to pairs, by their indices: ids of the sources, and of the targets."""

_QUANTILE = 0.95
_FACTORS = ("upper", "title", "lower", "no_punctuation", "typos")


class Lengths(NamedTuple):
    """Subwords of the two sides of pairs, without EOS, [B] each."""

    source_B: np.ndarray
    target_B: np.ndarray


class Growth(NamedTuple):
    """What a kind does to the length of one side: times ``factor``, plus ``added``."""

    factor: float = 1.0
    added: int = 0


class PlannedLengths:
    """Bounds for the lengths of changed pairs."""

    def __init__(self, changed_ids: ChangedIds, indices: np.ndarray, lengths: Lengths) -> None:
        """Measure the growth of each kind on some pairs, of which ``lengths`` are the stored ones."""
        self._growth: dict[str, tuple[Growth, Growth]] = {}
        for kind in (*_FACTORS, "items", "noise"):
            changed = changed_ids(indices, Kinds(**{kind: True}))
            new = [np.array([len(ids) for ids in side]) for side in changed]
            self._growth[kind] = tuple(  # type: ignore[assignment]
                _growth(kind, new_B, old_B) for new_B, old_B in zip(new, lengths, strict=True)
            )

    def of(self, draws: Draws, stored: Lengths, partners: Lengths) -> Lengths:
        """Return bounds for pairs after what was drawn for them; pairs without a change have their stored lengths.

        Args:
            partners: lengths of the pairs that are merged with them.
        """
        return Lengths(*(self._of_side(side, draws, stored[side], partners[side]) for side in (0, 1)))

    def _of_side(self, side: int, draws: Draws, stored_B: np.ndarray, partner_B: np.ndarray) -> np.ndarray:
        planned_B = stored_B + np.where(draws.merged_B, partner_B, 0).astype(np.float64)
        for kind in (*_FACTORS, "items"):
            growth = self._growth[kind][side]
            grown_B = planned_B * growth.factor + growth.added
            planned_B = np.where(getattr(draws, f"{kind}_B"), grown_B, planned_B)
        planned_B = np.where(draws.noise_B, self._growth["noise"][side].added, planned_B)
        rounded: np.ndarray = np.ceil(planned_B).astype(np.int64)
        return rounded


def _growth(kind: str, new_B: np.ndarray, old_B: np.ndarray) -> Growth:
    if not len(new_B):
        return Growth()
    if kind == "noise":
        return Growth(factor=0.0, added=int(np.quantile(new_B, _QUANTILE)))
    if kind == "items":
        return Growth(added=max(0, int(np.quantile(new_B - old_B, _QUANTILE))))
    return Growth(factor=max(1.0, float(np.quantile(new_B / np.maximum(old_B, 1), _QUANTILE))))
