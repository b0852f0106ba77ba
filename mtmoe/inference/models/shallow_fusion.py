"""Shallow fusion: a translation model that searches with a language model (Gulcehre et al. 2015).

::

    log p(w) = log p_translation(w | source, words so far) + weight x log p_language_model(w | words so far)

Nothing is normalised again: a word that the language model finds unlikely costs its hypothesis that much, whatever the
other words cost.

Letters: X rows (targets being written).
"""

from __future__ import annotations

from typing import Generic, NamedTuple

import torch
from torch import Tensor, nn

from mtmoe.inference.search.search_model import MemoryT, SearchModel, StateT
from mtmoe.model.language_model import LanguageModel, LanguageModelState
from mtmoe.vocabulary import BOS, PAD


class FusedMemory(NamedTuple, Generic[MemoryT]):
    """What the translation model knows of the sources, and how many they are."""

    translation: MemoryT
    num_sources: int


class FusedState(NamedTuple, Generic[StateT]):
    """The state of both, with the same rows: each hypothesis has read its own words in the language model."""

    translation: StateT
    language_model: LanguageModelState

    def select(self, rows_X: Tensor) -> FusedState[StateT]:
        """Return some rows of both states."""
        on_device = rows_X.to(self.language_model.layers[0].output_BD.device)
        return FusedState(self.translation.select(rows_X), self.language_model.select(on_device))

    def join(self, *others: FusedState[StateT]) -> FusedState[StateT]:
        """Return these rows and then those of the other states."""
        translation = self.translation.join(*(other.translation for other in others))
        return FusedState(translation, self.language_model.join(*(other.language_model for other in others)))


class FusedModel(Generic[MemoryT, StateT]):
    """A :class:`~mtmoe.inference.search.search_model.SearchModel`; attention is that of the translation model."""

    def __init__(
        self,
        translation: SearchModel[MemoryT, StateT],
        language_model: LanguageModel,
        weight: float,
        *,
        first_token: int = BOS,
    ) -> None:
        """Join models over one vocabulary (:mod:`mtmoe.inference.scoring.rescoring` sees to it).

        Args:
            weight: of the language model, above 0.
            first_token: what a text of the language model begins with.
        """
        self.translation, self.language_model = translation, language_model
        self.weight, self.first_token = weight, first_token
        self.vocabulary_size = translation.vocabulary_size

    @property
    def hidden_width(self) -> int:
        """Return V: both are projected at once, for what is missing to 1 is known only then."""
        return self.vocabulary_size

    def encode(self, source_BS: Tensor, source_lengths_B: Tensor) -> FusedMemory[MemoryT]:
        """Return what the translation model knows of the sources."""
        return FusedMemory(self.translation.encode(source_BS, source_lengths_B), len(source_BS))

    def initial_state(self, memory: FusedMemory[MemoryT]) -> FusedState[StateT]:
        """Return the states of both models before the first step."""
        return FusedState(
            self.translation.initial_state(memory.translation), self.language_model.initial_state(memory.num_sources)
        )

    def decode_step(self, tokens_X: Tensor, state: FusedState[StateT]) -> tuple[Tensor, Tensor, FusedState[StateT]]:
        """Return log-probabilities [X, V] of both models together, attention [X, S] and the next state."""
        hidden_XD, attention_XS, translation = self.translation.decode_step(tokens_X, state.translation)
        read_X = tokens_X.masked_fill(tokens_X == BOS, self.first_token)
        logits_XV, language_model = self.language_model.decode_step(read_X, state.language_model)
        fused_XV = self.translation.project(hidden_XD).log_softmax(1)
        fused_XV.add_(logits_XV.log_softmax(1), alpha=self.weight)
        return with_the_rest_on_pad(fused_XV), attention_XS, FusedState(translation, language_model)

    def output_vectors(self, words: Tensor) -> Tensor:
        """Return unit vectors: what :meth:`decode_step` gives has a place for each word."""
        return nn.functional.one_hot(words, self.vocabulary_size).float()

    def project(self, hidden_XD: Tensor, out: Tensor | None = None) -> Tensor:
        """Return what :meth:`decode_step` came to: its softmax is itself."""
        return hidden_XD if out is None else out.copy_(hidden_XD)


def with_the_rest_on_pad(fused_XV: Tensor) -> Tensor:
    """Give PAD, which no search produces, what the other words lack of a probability of 1; in place.

    A probability times a power of another one is at most itself, so that they lack something, and the softmax with
    which every search begins leaves their numbers as they are.
    """
    fused_XV[:, PAD] = -torch.inf
    rest_X = 1.0 - fused_XV.logsumexp(1).exp()
    fused_XV[:, PAD] = rest_X.clamp(min=torch.finfo(fused_XV.dtype).tiny).log()
    return fused_XV
