"""Guided alignment: attention is taught to look where a word is translated from (Chen et al. 2016, "Guided Alignment
Training for Topic-Aware Neural Machine Translation").

The alignment is computed for each batch as it is, by the translation table that preprocessing learned
(:mod:`mtmoe.data.prepared.translation_table`): so it holds for pairs that are changed, drawn in other subwords, or
repeated from older text. It is the geometric mean of two posteriors, of the target made by the source and of the source
made by the target: a link counts for as much as both directions find it likely.

Letters: V vocabulary, P pairs of a source and a target subword in the table.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtmoe.config import Recipe
from mtmoe.data.batches.padding import Batch
from mtmoe.data.prepared.data_directory import Prepared
from mtmoe.data.prepared.translation_table import (
    DIAGONAL_TENSION,
    NOTHING,
    SHARE_OF_NOTHING,
    TranslationTable,
    load_translation_table,
)
from mtmoe.vocabulary import EOS

_TINY = 1e-30
_LEAST_WEIGHT = 1e-6  # attention is at least so much where its logarithm is taken


def guiding_table(recipe: Recipe, prepared: Prepared, vocabulary_size: int) -> TranslationTable | None:
    """Return what guides the attention, of the text that is trained on; None where the recipe does not ask for it.

    Raises:
        UserError: as :func:`mtmoe.data.prepared.translation_table.load_translation_table`.
    """
    if recipe.training.guided_alignment is None:
        return None
    return load_translation_table(prepared.translation_table_path, vocabulary_size)


class SubwordAligner:
    """The table on a device."""

    def __init__(self, table: TranslationTable, vocabulary_size: int, device: torch.device) -> None:
        self.vocabulary_size = vocabulary_size
        source_P, target_P = (torch.from_numpy(ids).to(device, torch.int64) for ids in table[:2])
        self.keys_P = source_P * vocabulary_size + target_P
        # What is not in the table is found behind its end, where no key and no probability is.
        self.found_keys = _with_one_more(self.keys_P, -1)
        self.forward, self.backward = (
            _with_one_more(torch.from_numpy(p).to(device), 0) for p in (table.forward_P, table.backward_P)
        )

    def align(self, batch: Batch) -> Tensor:
        """Return how surely each target subword and each source subword translate each other: float32 [B, T, S].

        The end of the target is that of the source. Rows of padding are 0.
        """
        source_BS, labels_BT = batch.source_BS, batch.target_BT[:, 1:]
        places_S = torch.arange(source_BS.shape[1], device=source_BS.device)
        places_T = torch.arange(labels_BT.shape[1], device=labels_BT.device)
        num_source_B, num_target_B = batch.source_lengths_B - 1, batch.target_lengths_B - 1  # without the ends
        along_BS = (places_S + 0.5) / num_source_B.clamp(min=1)[:, None]
        along_BT = (places_T + 0.5) / num_target_B.clamp(min=1)[:, None]
        is_within_BS = places_S < num_source_B[:, None]
        is_within_BT = places_T < num_target_B[:, None]
        near_BTS = (-DIAGONAL_TENSION * (along_BS[:, None] - along_BT[:, :, None]).abs()).exp()
        near_BTS = near_BTS * is_within_BS[:, None] * is_within_BT[:, :, None]
        places_BTS = self._places(source_BS[:, None], labels_BT[:, :, None])
        nothing_BS, nothing_BT = torch.full_like(source_BS, NOTHING), torch.full_like(labels_BT, NOTHING)
        from_nothing_BT = self.forward[self._places(nothing_BT, labels_BT)]
        to_nothing_BS = self.backward[self._places(source_BS, nothing_BS)]
        of_target_BTS = _posterior(near_BTS, self.forward[places_BTS], from_nothing_BT, 2)
        of_source_BTS = _posterior(near_BTS, self.backward[places_BTS], to_nothing_BS, 1)
        is_end_BTS = (labels_BT == EOS)[:, :, None] & (places_S == num_source_B[:, None])[:, None]
        return (of_target_BTS * of_source_BTS).sqrt() + is_end_BTS

    def _places(self, sources: Tensor, targets: Tensor) -> Tensor:
        """Return where pairs of subwords are in the table, or its length where they are not."""
        keys = sources * self.vocabulary_size + targets
        places = torch.searchsorted(self.keys_P, keys)
        return places.where(self.found_keys[places] == keys, len(self.keys_P))


def _with_one_more(numbers: Tensor, last: int) -> Tensor:
    """Return the numbers with one more behind them."""
    return torch.cat((numbers, numbers.new_full((1,), last)))


def _posterior(near_BTS: Tensor, probability_BTS: Tensor, of_nothing: Tensor, dim: int) -> Tensor:
    """Return the posterior of each link, whose sum over ``dim`` is 1 at most: the rest is the share of nothing.

    of_nothing: p(made | nothing), near_BTS without the dimension ``dim``.
    """
    prior_BTS = (1 - SHARE_OF_NOTHING) * near_BTS / near_BTS.sum(dim, keepdim=True).clamp(min=_TINY)
    weight_BTS = prior_BTS * probability_BTS
    total = weight_BTS.sum(dim) + SHARE_OF_NOTHING * of_nothing
    return weight_BTS / total.clamp(min=_TINY).unsqueeze(dim)


def guided_alignment_loss(attentions: Sequence[Tensor], alignment_BTS: Tensor) -> Tensor:
    """Return the cross-entropy of the attention from the alignment, a sum over target subwords, in nats, and a mean
    over ``attentions`` (each [B, T, S], rows sum to 1)."""
    losses = [-(alignment_BTS * (weights_BTS + _LEAST_WEIGHT).log()).sum() for weights_BTS in attentions]
    return torch.stack(losses).mean()
