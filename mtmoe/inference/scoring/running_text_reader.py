"""Running text: lines read as one text, in stretches, by a language model that was trained on such text; with what it
learns (:mod:`.dynamic_evaluation`) or remembers (:mod:`.neural_cache`) of what it has read, where the recipe's
``[scoring]`` says so. A stretch is scored before anything is learned from it.

Letters: N tokens of a stretch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mtmoe.checkpoint import LoadedLanguageModel
from mtmoe.config.settings import Scoring
from mtmoe.data.batches.padding import Batch
from mtmoe.inference.models.inference_precision import full_precision
from mtmoe.inference.scoring.dynamic_evaluation import DynamicModel, RootMeanSquares
from mtmoe.inference.scoring.neural_cache import Cache
from mtmoe.model.language_model import LanguageModelState
from mtmoe.progress import Progress, silent
from mtmoe.vocabulary import EOS

TOKENS_AT_ONCE = 1024
_STRETCHES_BETWEEN_PROGRESS = 200


class Stretch(NamedTuple):
    """What the model says of a stretch, without the cache: log p of each word, its output before it, the word."""

    log_N: Tensor
    hidden_ND: Tensor
    words_N: Tensor


class RunningReader:
    """Reads each line after all that were read before."""

    def __init__(
        self,
        loaded: LoadedLanguageModel,
        usual: RootMeanSquares | None = None,
        progress: Progress = silent,
        scoring: Scoring | None = None,
    ) -> None:
        """Begin a text.

        Args:
            usual: of the model, for ``scoring.dynamic``.
            progress: told of tokens.
            scoring: in place of the recipe's.

        Raises:
            ValueError: ``usual`` is missing.
        """
        scoring = scoring or loaded.recipe.scoring
        self._model, self._learner, self._size = loaded.model, None, TOKENS_AT_ONCE
        if scoring.dynamic is not None:
            if usual is None:
                raise ValueError("scoring.dynamic needs the root mean squares of the model's gradients")
            self._learner = DynamicModel(loaded.model, scoring.dynamic, usual)
            self._model, self._size = self._learner.model, scoring.dynamic.segment_tokens
        self._cache = Cache(scoring.cache) if scoring.cache is not None else None
        self._device = next(self._model.parameters()).device
        self._state: LanguageModelState | None = None
        self._last, self._progress = EOS, progress

    def read(self, lines: Sequence[Sequence[int]]) -> list[float]:
        """Return log P of each line given all before it, its end included: ids without special symbols."""
        parts = []
        for stretch in self.stretches([token for ids in lines for token in (*ids, EOS)]):
            parts.append(with_cache(stretch, self._cache).cpu())
        log_probabilities = torch.cat(parts).split([len(ids) + 1 for ids in lines])
        return [float(part.sum()) for part in log_probabilities]

    def stretches(self, tokens: Sequence[int]) -> Iterator[Stretch]:
        """Yield what the model says of text that goes on where the last one ended; it has learned from a stretch when
        the next one is asked for."""
        for number, begin in enumerate(range(0, len(tokens), self._size), start=1):
            stretch = tokens[begin : begin + self._size]
            gradients = torch.enable_grad() if self._learner is not None else torch.no_grad()
            with gradients, full_precision():
                output, after = self._model.continued(self._batch(stretch), self._state)
                log_N = self._model.label_log_probabilities(output)
            self._state, self._last = after.detached(), stretch[-1]
            yield Stretch(log_N.detach(), output.hidden_ND.detach(), output.labels_N)
            if self._learner is not None:
                with full_precision():
                    self._learner.learn(-log_N.mean())
                if number % _STRETCHES_BETWEEN_PROGRESS == 0 or begin + self._size >= len(tokens):
                    self._progress("score", min(begin + self._size, len(tokens)), len(tokens), "tokens")

    def _batch(self, stretch: Sequence[int]) -> Batch:
        no_source = torch.zeros(1, 0, dtype=torch.int64)
        target_1T = torch.tensor([[self._last, *stretch]])
        zero, length = torch.tensor([0]), torch.tensor([len(stretch)])
        return Batch(no_source, zero, target_1T, length).to(self._device)


def with_cache(stretch: Stretch, cache: Cache | None) -> Tensor:
    """Return log p of the words of a stretch with what the cache remembers, which then remembers them: float64 [N]."""
    return stretch.log_N.double() if cache is None else cache.mixed(*stretch)
