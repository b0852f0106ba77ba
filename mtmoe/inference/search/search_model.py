"""Search model: what the search needs of a model.

Letters: B sentences (sources), X rows (targets being written, several of a source).
"""

from __future__ import annotations

from typing import Protocol, Self, TypeVar

from torch import Tensor


class SearchState(Protocol):
    """The state of X rows, as a value."""

    def select(self, rows_X: Tensor) -> Self:
        """Return the rows ``rows_X`` (int64, on the CPU) in that order, repeated where an index is, others dropped."""

    def join(self, *others: Self) -> Self:
        """Return these rows and then those of the other states, in their order. It may drop padding that no row has
        any more."""


MemoryT = TypeVar("MemoryT")
"""What a decoder needs to know of encoded sources."""
StateT = TypeVar("StateT", bound=SearchState)
"""The state of a decoder."""


class SearchModel(Protocol[MemoryT, StateT]):
    """An encoder and a decoder that is called step by step. Row x of every argument and result belongs together."""

    vocabulary_size: int

    @property
    def hidden_width(self) -> int:
        """Return the D of :meth:`decode_step`."""

    def encode(self, source_BS: Tensor, source_lengths_B: Tensor) -> MemoryT:
        """Return whatever the decoder needs to know of the sources."""

    def initial_state(self, memory: MemoryT) -> StateT:
        """Return the state before the first step, whose token is BOS: one row for each source."""

    def decode_step(self, tokens_X: Tensor, state: StateT) -> tuple[Tensor, Tensor, StateT]:
        """Return what :meth:`project` reads [X, D], attention [X, S] of this step (0 at padding), and the next state.

        S is at least the longest source that has rows, and may be another one than at the step before.
        """

    def output_vectors(self, words: Tensor) -> Tensor:
        """Return the vectors [words, D] whose product with what :meth:`decode_step` gives are the words' logits."""

    def project(self, hidden_XD: Tensor, out: Tensor | None = None) -> Tensor:
        """Return logits (float32) of the next token, [X, V]; into ``out`` where it is given."""
