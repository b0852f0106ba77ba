"""Ensemble: several models that translate and score together.

Letters: X rows (targets being written).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mtmoe.errors import UserError
from mtmoe.inference.search.search_model import SearchModel, SearchState
from mtmoe.model.ops.rows import put_rows, real_positions
from mtmoe.model.translation import TranslationBatch

_LOGITS_AT_ONCE = 1 << 24  # 64 MiB in float32


class EnsembleState(NamedTuple):
    """A state of each model, all with the same rows."""

    states: tuple[SearchState, ...]

    def select(self, rows_X: Tensor) -> EnsembleState:
        """Return some rows of the states of all models."""
        return EnsembleState(tuple(state.select(rows_X) for state in self.states))

    def join(self, *others: EnsembleState) -> EnsembleState:
        """Return these rows and then those of the other states."""
        of_models = zip(self.states, *(other.states for other in others), strict=True)
        return EnsembleState(tuple(own.join(*theirs) for own, *theirs in of_models))


class Ensemble(nn.Module):
    """A :class:`SearchModel` of models over one vocabulary: ``p(y) ~ product of p_m(y) ^ weight_m``.

    This log-linear mean, renormalised over the vocabulary, is the softmax of the weighted mean of the logits, so the
    vocabulary is normalised once and not once a model. Attention is the weighted mean. Its parameters are those of all
    models.
    """

    def __init__(self, models: Sequence[SearchModel[Any, Any]], weights: Sequence[float] | None = None) -> None:
        """Join models; ``weights``: one for each model, in any scale (they are divided by their sum); by default equal.

        Raises:
            UserError: vocabularies of different sizes, or weights that do not fit.
        """
        super().__init__()
        weights = [1.0] * len(models) if weights is None else weights
        sizes = [model.vocabulary_size for model in models]
        if len(set(sizes)) > 1:
            raise UserError(
                f"the models of an ensemble have vocabularies of different sizes: {sizes}",
                fix="train them with the same subword model: mtmoe train on the same data directory",
            )
        if not models or len(weights) != len(models) or min(weights) <= 0:
            raise UserError(
                f"an ensemble of {len(models)} models cannot have the weights {list(weights)}",
                fix="one weight above 0 for each model",
            )
        self.models = tuple(models)
        self.networks = nn.ModuleList(model for model in models if isinstance(model, nn.Module))
        self.weights = tuple(weight / sum(weights) for weight in weights)
        self.vocabulary_size = sizes[0]
        self.hidden_widths = tuple(model.hidden_width for model in models)
        self.hidden_width = sum(self.hidden_widths)

    def encode(self, source_BS: Tensor, source_lengths_B: Tensor) -> tuple[Any, ...]:
        """Return what each decoder needs to know of the sources."""
        return tuple(model.encode(source_BS, source_lengths_B) for model in self.models)

    def initial_state(self, memory: tuple[Any, ...]) -> EnsembleState:
        """Return the states of all models before the first step."""
        states = (model.initial_state(own) for model, own in zip(self.models, memory, strict=True))
        return EnsembleState(tuple(states))

    def decode_step(self, tokens_X: Tensor, state: EnsembleState) -> tuple[Tensor, Tensor, EnsembleState]:
        """Return the models' hidden vectors side by side, the weighted mean of their attentions, and the next state."""
        steps = [model.decode_step(tokens_X, own) for model, own in zip(self.models, state.states, strict=True)]
        hidden, attentions, states = zip(*steps, strict=True)
        # Side by side, so that rows stay rows; project() takes them apart again.
        attention_XS = torch.stack([w * part for w, part in zip(self.weights, attentions, strict=True)]).sum(0)
        return torch.cat(hidden, dim=1), attention_XS, EnsembleState(states)

    def output_vectors(self, words: Tensor) -> Tensor:
        """Return the vectors of words, side by side as :meth:`decode_step` has them."""
        weighted = (weight * m.output_vectors(words) for m, weight in zip(self.models, self.weights, strict=True))
        return torch.cat(list(weighted), dim=1)

    def project(self, hidden_XD: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the weighted mean of the logits [X, V]."""
        parts = hidden_XD.split(self.hidden_widths, dim=1)
        logits_XV = torch.zeros(()) if out is None else out.zero_()
        for model, weight, part in zip(self.models, self.weights, parts, strict=True):
            weighted_XV = weight * model.project(part)
            logits_XV = logits_XV + weighted_XV if out is None else out.add_(weighted_XV)
        return logits_XV

    def log_probabilities(self, batch: TranslationBatch) -> Tensor:
        """Return log P of each target token given those before it: float32 [B, T], zero at padding.

        All models must be translation models.
        """
        outputs = [model(batch) for model in self.networks]
        hidden_ND, labels_N = torch.cat([output.hidden_ND for output in outputs], dim=1), outputs[0].labels_N
        rows = max(1, _LOGITS_AT_ONCE // self.vocabulary_size)
        parts = []
        for part_ND, part_N in zip(hidden_ND.split(rows), labels_N.split(rows), strict=True):
            parts.append(self.project(part_ND).log_softmax(dim=1).gather(1, part_N[:, None]))
        num_sentences, length = batch.target_BT.shape[0], batch.target_BT.shape[1] - 1
        positions_N = real_positions(batch.target_lengths_B, length)
        return put_rows(torch.cat(parts), positions_N, num_sentences, length)[:, :, 0]
