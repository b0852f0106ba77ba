"""Stepping through given translations as the search does, with the same arithmetic in every precision.

Letters: B sentences, S source positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mtmoe.inference.search.source_batching import pad_with_eos
from mtmoe.model.translation import TranslationModel
from mtmoe.vocabulary import BOS

Pair = tuple[Sequence[int], Sequence[int]]
"""Ids of a source and of its translation, without special symbols."""


class Step(NamedTuple):
    """One target position of all sentences; those that have ended hold no meaning.

    log_probabilities_BV: of every word. labels_B: the words that the translations have there. attention_BS: float32.
    """

    log_probabilities_BV: Tensor
    labels_B: Tensor
    attention_BS: Tensor


def steps(model: TranslationModel, pairs: Sequence[Pair]) -> Iterator[Step]:
    """Encode the sources and yield a step for each position up to the end of the longest translation."""
    device = next(model.parameters()).device
    source_BS, lengths_B = pad_with_eos([source for source, _ in pairs], device)
    labels_BT, _ = pad_with_eos([target for _, target in pairs], device)
    inputs_B = torch.full_like(labels_BT[:, 0], BOS)
    state = model.initial_state(model.encode(source_BS, lengths_B))
    for labels_B in labels_BT.unbind(1):
        hidden_BD, attention_BS, state = model.decode_step(inputs_B, state)
        yield Step(model.project(hidden_BD).log_softmax(dim=-1), labels_B, attention_BS)
        inputs_B = labels_B
