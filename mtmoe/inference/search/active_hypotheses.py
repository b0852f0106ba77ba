"""The hypotheses that a search is extending, and how they came to be.

Letters as in ``beam_search.py``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mtmoe.inference.constraints.soft_terms import Begun


class Extensions(NamedTuple):
    """Ways to extend each live hypothesis, on the CPU: column 0 is EOS, then come the likeliest words, best first, then
    words that rules ask for (from ``first_asked`` on)."""

    words_XC: np.ndarray
    log_probabilities_XC: np.ndarray
    coverage_penalty_X: np.ndarray
    ends_by_itself_X: np.ndarray
    """Whether EOS is what the model, left to itself, would have next."""
    first_asked: int


class Live(NamedTuple):
    """The hypotheses that are being extended."""

    beam_X: np.ndarray
    length_X: np.ndarray
    log_probability_X: np.ndarray
    ids_X: list[tuple[int, ...]]
    """Words so far, where rules need them; else empty."""
    begun_X: list[tuple[Begun, ...]]
    """Soft terms in the middle of which it may be, where there are any in the search; else empty."""
    tokens_X: Tensor
    coverage_XS: Tensor
    """Without columns where coverage has no weight."""
    source_lengths_X: Tensor
    state: Any

    def select(self, rows_X: np.ndarray) -> Live:
        """The device's part of rows in another order."""
        if np.array_equal(rows_X, np.arange(len(self.beam_X))):  # nothing moves: mostly so in greedy search
            return self
        rows = torch.from_numpy(rows_X)
        on_device = rows.to(self.coverage_XS.device)
        return self._replace(
            coverage_XS=self.coverage_XS.index_select(0, on_device),
            source_lengths_X=self.source_lengths_X.index_select(0, on_device),
            state=self.state.select(rows),
        )

    def join(self, other: Live) -> Live:
        """These and then the others."""
        width = max(self.coverage_XS.shape[1], other.coverage_XS.shape[1])
        coverage_XS = torch.cat([widened(live.coverage_XS, width) for live in (self, other)])
        return Live(
            np.concatenate([self.beam_X, other.beam_X]),
            np.concatenate([self.length_X, other.length_X]),
            np.concatenate([self.log_probability_X, other.log_probability_X]),
            self.ids_X + other.ids_X,
            self.begun_X + other.begun_X,
            torch.cat([self.tokens_X, other.tokens_X]),
            coverage_XS,
            torch.cat([self.source_lengths_X, other.source_lengths_X]),
            self.state.join(other.state),
        )


def widened(coverage_XS: Tensor, width: int) -> Tensor:
    """Padding positions added, or taken away where no row needs them any more."""
    return F.pad(coverage_XS, (0, width - coverage_XS.shape[1]))


class Step(NamedTuple):
    """How the live hypotheses after a step came from those before, and what those before attended to. Lists, which are
    read element by element in a tenth of the time."""

    parents_X: list[int]
    tokens_X: list[int]
    log_probabilities_X: list[float]
    attention_XS: Tensor | None
