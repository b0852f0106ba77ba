"""Subword regularisation: another segmentation of a sentence at every visit."""

from __future__ import annotations

import numpy as np

from mtmoe.config.settings import SubwordSampling
from mtmoe.data.batches.padding import Batch, ChangedPairs, Ragged, padded, ragged, rows_of
from mtmoe.data.prepared.corpus import ParallelCorpus, Side
from mtmoe.data.random_streams import Purpose, random_seeds, random_stream
from mtmoe.data.subwords.sentencepiece_model import SubwordModel

_PAIRS_TO_MEASURE = 2000
_GROWTH_QUANTILE = 0.95


class Sampler:
    """Draws a segmentation of every sentence of a batch (subword regularisation)."""

    def __init__(self, corpus: ParallelCorpus, model: SubwordModel, settings: SubwordSampling, seed: int) -> None:
        self._corpus = corpus
        self._model = model
        self._alpha = settings.alpha
        self._both = settings.sides == "both"
        self._seed = seed
        # Drawn segmentations are longer. How much is measured once, so that batches can be planned for it.
        generator = random_stream(Purpose.MEASUREMENT, seed)
        some = generator.integers(0, len(corpus), min(_PAIRS_TO_MEASURE, len(corpus)))
        self._source_growth = self._growth(corpus.source_side, some)
        self._target_growth = self._growth(corpus.target_side, some) if self._both else 1.0

    def _growth(self, side: Side, indices: np.ndarray) -> float:
        stored = [side[int(i)].tolist() for i in indices]
        drawn = self._model.sample_batch(self._model.decode_batch(stored), self._alpha, self._seed)
        growth = [len(new) / len(old) for old, new in zip(stored, drawn, strict=True) if old]
        return max(1.0, float(np.quantile(growth, _GROWTH_QUANTILE))) if growth else 1.0

    def expected_lengths(self, source_lengths: np.ndarray, target_lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return lengths to plan with."""
        return (
            np.ceil(source_lengths * self._source_growth).astype(np.int64),
            np.ceil(target_lengths * self._target_growth).astype(np.int64),
        )

    def draw(
        self, indices: np.ndarray, epoch: int, batch: int, longest: int, changed: ChangedPairs | None = None
    ) -> Batch:
        """Draw for these pairs, which are that batch of that epoch; ``changed`` are in the place of stored ones.

        A sentence whose draw is over ``longest`` subwords stays as it is.
        """
        seeds = random_seeds(Purpose.SAMPLING, self._seed, epoch, batch, num_seeds=2)
        sources, targets = rows_of(self._corpus, indices, changed)
        source = self._drawn(sources, longest, seeds[0])
        return padded(source, self._drawn(targets, longest, seeds[1]) if self._both else ragged(targets))

    def _drawn(self, rows: list[list[int]], longest: int, seed: int) -> Ragged:
        drawn = self._model.sample_batch(self._model.decode_batch(rows), self._alpha, seed)
        return ragged([new if len(new) <= longest else old for old, new in zip(rows, drawn, strict=True)])
