"""Active hypotheses: those that a search is extending.

Letters: X active hypotheses, sorted by beam, then by rank.
"""

from __future__ import annotations

from typing import Generic, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mtmoe.inference.constraints.soft_terms import Copying
from mtmoe.inference.search.search_model import StateT


class ActiveHypotheses(NamedTuple, Generic[StateT]):
    """The hypotheses that are being extended: row x of all of them belongs together."""

    beam_X: np.ndarray
    length_X: np.ndarray
    log_probability_X: np.ndarray
    ids_X: list[tuple[int, ...]]
    """Words so far; none where no decoding rule needs them."""
    copying_X: list[tuple[Copying, ...]]
    """Soft terms in the middle of which it may be."""
    tokens_X: Tensor
    """The last word of each, on the device."""
    coverage_XS: Tensor
    """Attention that each source position has received. Without columns where coverage has no weight."""
    source_lengths_X: Tensor
    state: StateT

    def select(self, rows_X: np.ndarray) -> ActiveHypotheses[StateT]:
        """Return the device's part of rows in another order; the caller replaces the rest."""
        if np.array_equal(rows_X, np.arange(len(self.beam_X))):  # nothing moves: mostly so in greedy search
            return self
        rows = torch.from_numpy(rows_X)
        on_device = rows.to(self.coverage_XS.device)
        return self._replace(
            coverage_XS=self.coverage_XS.index_select(0, on_device),
            source_lengths_X=self.source_lengths_X.index_select(0, on_device),
            state=self.state.select(rows),
        )

    def join(self, other: ActiveHypotheses[StateT]) -> ActiveHypotheses[StateT]:
        """Return these and then the others."""
        width = max(self.coverage_XS.shape[1], other.coverage_XS.shape[1])
        coverage_XS = torch.cat([widened(active.coverage_XS, width) for active in (self, other)])
        return ActiveHypotheses(
            np.concatenate([self.beam_X, other.beam_X]),
            np.concatenate([self.length_X, other.length_X]),
            np.concatenate([self.log_probability_X, other.log_probability_X]),
            self.ids_X + other.ids_X,
            self.copying_X + other.copying_X,
            torch.cat([self.tokens_X, other.tokens_X]),
            coverage_XS,
            torch.cat([self.source_lengths_X, other.source_lengths_X]),
            self.state.join(other.state),
        )


def widened(coverage_XS: Tensor, width: int) -> Tensor:
    """Return the coverage with padding positions added, or taken away where no row needs them any more."""
    return F.pad(coverage_XS, (0, width - coverage_XS.shape[1]))
