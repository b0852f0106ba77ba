"""Sentences of different lengths as the rows of one tensor.

Shape letters: B sentences, S source positions, T target positions, N tokens one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from mtmoe.data.prepared.corpus import ParallelCorpus, Side
from mtmoe.vocabulary import BOS, EOS, PAD


class Batch(NamedTuple):
    """Padded pairs of sentences; all tensors are int64. Text for a language model has an empty source, [B, 0].

    A decoder reads ``target_BT[:, :-1]`` and predicts ``target_BT[:, 1:]``.
    """

    source_BS: torch.Tensor  # ids, EOS, then PAD
    source_lengths_B: torch.Tensor  # with EOS
    target_BT: torch.Tensor  # BOS, ids, EOS, then PAD
    target_lengths_B: torch.Tensor  # predicted tokens: ids and EOS, without BOS

    @property
    def num_source_tokens(self) -> int:
        """Return the source tokens with EOS, without padding."""
        return int(self.source_lengths_B.sum())

    @property
    def num_target_tokens(self) -> int:
        """Return predicted tokens, without padding."""
        return int(self.target_lengths_B.sum())

    def to(self, device: torch.device | str) -> Batch:
        """Move the batch to another device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


def batch_of(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> Batch:
    """Make a batch of ids without special ids.

    Raises:
        ValueError: when there are no pairs or the sides differ in number.
    """
    if len(sources) != len(targets) or not sources:
        raise ValueError(f"{len(sources)} sources and {len(targets)} targets make no batch")
    return padded(ragged(sources), ragged(targets))


class Ragged(NamedTuple):
    """Sentences of different lengths, one after the other."""

    ids_N: np.ndarray
    lengths_B: np.ndarray


def ragged(sentences: Sequence[Sequence[int]]) -> Ragged:
    """Flatten rows of ids."""
    lengths_B = np.fromiter((len(ids) for ids in sentences), np.int64, len(sentences))
    ids_N = np.fromiter((i for ids in sentences for i in ids), np.int64, int(lengths_B.sum()))
    return Ragged(ids_N, lengths_B)


def ragged_from(side: Side, indices: np.ndarray) -> Ragged:
    """Read sentences of a corpus, all at once: there is no Python per sentence or token."""
    indices = indices.astype(np.int64)
    begins_B = side.offsets[indices]
    lengths_B = side.offsets[indices + 1] - begins_B
    ends_B = np.cumsum(lengths_B)
    positions_N = np.arange(ends_B[-1]) + np.repeat(begins_B - (ends_B - lengths_B), lengths_B)
    return Ragged(side.ids[positions_N], lengths_B)


ChangedPairs = Mapping[int, tuple[Sequence[int], Sequence[int]]]
"""Ids of the source and the target that take the place of stored ones, by the row of a batch."""


def gathered(corpus: ParallelCorpus, indices: np.ndarray, changed: ChangedPairs | None = None) -> Batch:
    """Make a batch of a corpus's pairs, in the order of ``indices``; of text of one language, without a source."""
    if corpus.monolingual:
        return text_batch(ragged_from(corpus.target_side, indices))
    if not changed:
        return padded(ragged_from(corpus.source_side, indices), ragged_from(corpus.target_side, indices))
    return padded(*map(ragged, rows_of(corpus, indices, changed)))


def rows_of(
    corpus: ParallelCorpus, indices: np.ndarray, changed: ChangedPairs | None = None
) -> tuple[list[list[int]], list[list[int]]]:
    """Return the ids of the sources and of the targets of pairs."""
    sources = [corpus.source(index).tolist() for index in indices]
    targets = [corpus.target(index).tolist() for index in indices]
    for row, (source, target) in (changed or {}).items():
        sources[row], targets[row] = list(source), list(target)
    return sources, targets


def padded(source: Ragged, target: Ragged) -> Batch:
    """Add the special ids and the padding."""
    return Batch(
        torch.from_numpy(_rows(source, num_before=0)),
        torch.from_numpy(source.lengths_B + 1),
        torch.from_numpy(_rows(target, num_before=1)),
        torch.from_numpy(target.lengths_B + 1),
    )


def text_batch(text: Ragged) -> Batch:
    """Make a batch of sentences for a language model: source_BS is [B, 0]."""
    num_sentences = len(text.lengths_B)
    no_source = torch.zeros(num_sentences, dtype=torch.int64)
    return Batch(
        no_source[:, None][:, :0],
        no_source,
        torch.from_numpy(_rows(text, num_before=1)),
        torch.from_numpy(text.lengths_B + 1),
    )


def _rows(sentences: Ragged, num_before: int) -> np.ndarray:
    """Make a row of each sentence: ``num_before`` times BOS, ids, EOS, PAD."""
    lengths_B = sentences.lengths_B
    rows = np.full((len(lengths_B), num_before + int(lengths_B.max()) + 1), PAD, np.int64)
    rows[:, :num_before] = BOS
    inner = rows[:, num_before:]
    inner[np.arange(inner.shape[1]) < lengths_B[:, None]] = sentences.ids_N
    inner[np.arange(len(lengths_B)), lengths_B] = EOS
    return rows
