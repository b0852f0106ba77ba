"""Batches of pairs of similar length under a token budget, in an order that (seed, epoch) decides.

An epoch is a permutation of the corpus, of each part as often as its weight says (`mixture.py`), cut into pools. The
pairs of a pool are sorted by length, cut into batches within the budget, and the batches shuffled; a batch's tensors
are built when it is its turn. So any position of any epoch is reached without building the batches before it.

Shape letters: B sentences, S source positions, T target positions, N tokens one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mtmoe.config.settings import SubwordSampling
from mtmoe.data.augmentation.augmenter import Augmenter
from mtmoe.data.batches.mixture import Mixture
from mtmoe.data.batches.padding import Batch, batch_of, gathered
from mtmoe.data.prepared.corpus import ParallelCorpus
from mtmoe.data.random_streams import Purpose, random_stream
from mtmoe.data.subwords.bpe_dropout import Sampler
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.errors import UserError

__all__ = ["START", "Batch", "BatchStream", "Position", "batch_of", "plan_batches", "sequential_batches"]

PAIRS_PER_POOL = 1 << 19


class Position(NamedTuple):
    """The batch that is read next; both count from 0."""

    epoch: int
    batch: int


START = Position(epoch=0, batch=0)


class BatchStream:
    """Endless training batches of a corpus."""

    def __init__(
        self,
        corpus: ParallelCorpus,
        *,
        batch_tokens: int,
        max_tokens_per_sentence: int,
        seed: int,
        subword_sampling: SubwordSampling | None = None,
        subword_model: SubwordModel | None = None,
        augmenter: Augmenter | None = None,
        mixture: Mixture | None = None,
        pairs_per_pool: int = PAIRS_PER_POOL,
    ) -> None:
        """Leave out the pairs that are too long on either side.

        Args:
            batch_tokens: a batch's sentences times its longest side, with EOS and padding, is at most this
                (`docs/explanation/paper.md#decision-20`).
            max_tokens_per_sentence: subwords without EOS; longer pairs are left out.
            subword_sampling: draw another segmentation at every visit; needs ``subword_model``.
            augmenter: change some pairs at every visit, before their subwords are drawn.
            mixture: weights of the corpus's parts; None: those that it was written with, for ever.
            pairs_per_pool: pairs that are sorted by length together.

        Raises:
            UserError: when no pair is left.
        """
        if (subword_sampling is None) != (subword_model is None):
            raise ValueError("subword_sampling and subword_model are given together or not at all")
        self._corpus = corpus
        self._batch_tokens = batch_tokens
        self._seed = seed
        self._pairs_per_pool = pairs_per_pool
        self._augmenter = augmenter
        self._mixture = mixture or Mixture(corpus.parts)
        # The budget counts EOS.
        longest = min(max_tokens_per_sentence, batch_tokens - 1)
        fits = (corpus.source_lengths <= longest) & (corpus.target_lengths <= longest)
        self.num_left_out = int(len(corpus) - np.count_nonzero(fits))
        if self.num_left_out == len(corpus):
            raise UserError(
                f"{corpus.directory}: none of the {len(corpus)} pairs has at most {longest} subwords on both sides",
                fix="raise training.max_tokens_per_sentence, or check the text",
            )
        self._part_indices = _indices_by_part(corpus, fits)
        self._sampler: Sampler | None = None
        if subword_sampling is not None and subword_model is not None:
            self._sampler = Sampler(corpus, subword_model, subword_sampling, seed)

    def batches(self, start: Position = START, *, num_read: int = 0) -> Iterator[tuple[Batch, Position]]:
        """Yield batches from ``start`` on for ever, each with the position of the batch after it.

        A position beyond the end of its epoch means the next epoch's first batch. So does one in an epoch that ends
        where it is, because the weights of the parts change.

        Args:
            num_read: batches that were read before, by which a mixture may go.
        """
        epoch, batch = start
        while True:
            if batch and self._mixture.cuts_after(num_read):
                epoch, batch = epoch + 1, 0
            for found in self._of_epoch(epoch, batch, self._mixture.weights(epoch, num_read)):
                yield found
                num_read += 1
                if self._mixture.cuts_after(num_read):
                    break
            epoch, batch = epoch + 1, 0

    def _of_epoch(self, epoch: int, batch: int, weights: Sequence[float]) -> Iterator[tuple[Batch, Position]]:
        """Yield the batches of one epoch from the given one on."""
        first = 0
        for plan, is_last_plan in self._plans(epoch, weights):
            for number in range(max(batch, first), first + len(plan)):
                is_last = is_last_plan and number + 1 == first + len(plan)
                following = Position(epoch + 1, 0) if is_last else Position(epoch, number + 1)
                yield self.build_batch(plan[number - first], Position(epoch, number)), following
            first += len(plan)

    def num_batches(self, epoch: int) -> int:
        """Count the batches of an epoch (epochs differ a little) that has the first weights, or those of the epoch."""
        return sum(len(plan) for plan, _ in self._plans(epoch, self._mixture.weights(epoch, 0)))

    def _plans(self, epoch: int, weights: Sequence[float]) -> Iterator[tuple[list[np.ndarray], bool]]:
        """Yield pool by pool the indices of the pairs of every batch, and whether the pool is the epoch's last."""
        generator = random_stream(Purpose.EPOCH_ORDER, self._seed, epoch)
        indices = self._epoch_indices(epoch, weights)
        generator.shuffle(indices)
        for begin in range(0, len(indices), self._pairs_per_pool):
            end = begin + self._pairs_per_pool
            plan = self._planned(indices[begin:end], epoch)
            generator.shuffle(plan)
            yield plan, end >= len(indices)

    def _epoch_indices(self, epoch: int, weights: Sequence[float]) -> np.ndarray:
        """Return the pairs that the epoch visits, each as often as its part's weight says."""
        visits = []
        for number, (weight, indices) in enumerate(zip(weights, self._part_indices, strict=True)):
            whole, fraction = divmod(weight, 1.0)
            visits += [indices] * int(whole)
            num_extra = round(fraction * len(indices))
            if num_extra:
                # Successive epochs take successive stretches of one permutation, so that all of the part
                # is seen before anything of it is seen again, as long as its weight does not change.
                order = random_stream(Purpose.PART_ORDER, self._seed, number).permutation(len(indices))
                visits.append(indices[order[(epoch * num_extra + np.arange(num_extra)) % len(indices)]])
        chosen = np.concatenate(visits) if visits else np.empty(0, np.int64)
        if not len(chosen):
            raise UserError(
                f"{self._corpus.directory}: an epoch has no pairs; the weights are too small for so little text",
                fix="raise the weights of data.train, or of training.curriculum",
            )
        return chosen

    def _planned(self, indices: np.ndarray, epoch: int) -> list[np.ndarray]:
        source_lengths, target_lengths = self._corpus.source_lengths[indices], self._corpus.target_lengths[indices]
        if self._augmenter is not None:
            source_lengths, target_lengths = self._augmenter.planned_lengths(indices, epoch)
        source_lengths, target_lengths = source_lengths + 1, target_lengths + 1  # EOS
        if self._sampler is not None:
            source_lengths, target_lengths = self._sampler.expected_lengths(source_lengths, target_lengths)
        order, sizes = plan_batches(source_lengths, target_lengths, self._batch_tokens)
        return np.split(indices[order], np.cumsum(sizes)[:-1])

    def build_batch(self, indices: np.ndarray, position: Position) -> Batch:
        """Gather the pairs of a batch, some of them changed, and draw their subwords if that is asked for."""
        changed = self._augmenter.changed(indices, position.epoch) if self._augmenter is not None else None
        if self._sampler is None:
            return gathered(self._corpus, indices, changed)
        return self._sampler.draw(indices, *position, self._batch_tokens // len(indices) - 1, changed)


def sequential_batches(corpus: ParallelCorpus, batch_tokens: int, pairs: slice = slice(None)) -> Iterator[Batch]:
    """Yield every pair, or those of ``pairs``, once, in an order of lengths that never changes: for a dev set.

    Nothing is left out: a pair that is over the budget by itself is a batch of its own.
    """
    chosen = np.arange(len(corpus))[pairs]
    if not len(chosen):
        return
    source_lengths, target_lengths = corpus.source_lengths[pairs] + 1, corpus.target_lengths[pairs] + 1
    order, sizes = plan_batches(source_lengths, target_lengths, batch_tokens)
    for indices in np.split(chosen[order], np.cumsum(sizes)[:-1]):
        yield gathered(corpus, indices)


def plan_batches(
    source_lengths: np.ndarray, target_lengths: np.ndarray, batch_tokens: int
) -> tuple[np.ndarray, list[int]]:
    """Sort pairs by length and cut them into batches, so that little is padding.

    Pairs are sorted into strips of similar target length, and by source length in a strip; strips are so wide that
    a batch is about as wide in one direction as in the other. Ties keep their (random) order.

    Returns:
        The order of the pairs, and the number of pairs of each batch. Pairs times longest side of a batch is at
        most ``batch_tokens``, unless the batch is one pair.
    """
    cost = np.maximum(source_lengths, target_lengths)
    num_batches = max(1, int(cost.sum(dtype=np.int64)) // batch_tokens)
    strips = _strips(target_lengths, num_strips=max(1, round(num_batches**0.5)))
    # Up one strip and down the next: no batch spans the shortest and the longest where two strips meet.
    sources = np.where(strips % 2 == 0, source_lengths, -source_lengths)
    order = np.lexsort((target_lengths, sources, strips))
    return order, _batch_sizes(cost[order], batch_tokens)


def _strips(lengths: np.ndarray, num_strips: int) -> np.ndarray:
    """Number of each sentence's strip: about as many sentences in each, equal lengths never apart."""
    counts = np.bincount(lengths)
    shorter = np.cumsum(counts) - counts
    found: np.ndarray = ((shorter + counts // 2) * num_strips // len(lengths))[lengths]
    return found


def _batch_sizes(cost: np.ndarray, batch_tokens: int) -> list[int]:
    sizes = []
    begin = 0
    while begin < len(cost):
        window = np.maximum.accumulate(cost[begin : begin + max(1, batch_tokens // int(cost[begin]))])
        sizes.append(max(1, int(np.searchsorted(window * np.arange(1, len(window) + 1), batch_tokens, "right"))))
        begin += sizes[-1]
    return sizes


def _indices_by_part(corpus: ParallelCorpus, fits: np.ndarray) -> list[np.ndarray]:
    index_type = np.uint32 if len(corpus) < 1 << 32 else np.int64
    indices = []
    begin = 0
    for part in corpus.parts:
        end = begin + part.num_pairs
        indices.append((begin + np.flatnonzero(fits[begin:end])).astype(index_type))
        begin = end
    return indices
