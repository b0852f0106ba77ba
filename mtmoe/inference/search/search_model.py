"""What the search needs of a model.

Letters: B sources, X rows (targets being written, several of a source), S source positions, V vocabulary.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class SearchState(Protocol):
    """The state of X rows, as a value."""

    def select(self, rows_X: Tensor) -> Any:
        """The rows ``rows_X`` (int64, on the CPU) in that order, repeated where an index is, others dropped."""

    def join(self, *others: Any) -> Any:
        """These rows and then those of the other states, in their order. It may drop padding that no row has any
        more."""


class SearchModel(Protocol):
    """Row x of every argument and result belongs together."""

    vocabulary_size: int

    @property
    def hidden_width(self) -> int:
        """D of :meth:`decode_step`."""

    def encode(self, source_BS: Tensor, source_lengths_B: Tensor) -> Any:
        """Whatever the decoder needs to know of the sources."""

    def initial_state(self, memory: Any) -> Any:
        """The :class:`SearchState` before the first step, whose token is BOS: one row for each source."""

    def decode_step(self, tokens_X: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        """What :meth:`project` reads [X, D], attention [X, S] of this step (0 at padding), next state.

        S is at least the longest source that has rows, and may be another one than at the step before.
        """

    def output_vectors(self, words: Tensor) -> Tensor:
        """What :meth:`decode_step` gives times the vector of a word is its logit: [words, D]."""

    def project(self, hidden_XD: Tensor, out: Tensor | None = None) -> Tensor:
        """Logits (float32) of the next token, [X, V]; into ``out`` where it is given."""
