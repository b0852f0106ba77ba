"""Dynamic evaluation (Krause et al. 2017, arXiv 1709.07432): a language model that learns from the text it scores.

After a segment has been scored, every weight w moves by its gradient g of the segment's mean loss, and back towards
w0, where training left it (section 4 of that paper, the RMS rule with an RMS global prior)::

    w <- w - rate g / (r + epsilon) + min(1, decay r / mean(r)) (w0 - w)

r is the root of the weight's mean squared gradient on the training text, and mean(r) is over all weights.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mtmoe.checkpoint import LoadedLanguageModel
from mtmoe.config.settings import DynamicEvaluation
from mtmoe.data.batches.padding import Batch
from mtmoe.data.batches.running_text import RunningText
from mtmoe.data.prepared.corpus import ParallelCorpus
from mtmoe.data.prepared.data_directory import open_prepared
from mtmoe.data.subwords.vocabularies import load_vocabulary
from mtmoe.errors import UserError
from mtmoe.inference.models.inference_precision import full_precision
from mtmoe.model.language_model import LanguageModel
from mtmoe.progress import Progress, silent

MOST_ROWS = 100
"""Places of the training text that a batch of the statistics reads from."""

RootMeanSquares = Mapping[str, Tensor]
"""The root of the mean squared gradient of each weight, by the names of the parameters."""


def training_text(loaded: LoadedLanguageModel, data_dir: Path) -> ParallelCorpus:
    """Return the training text of a data directory, for the statistics.

    Raises:
        UserError: it is no data directory, has no text, or other words than the model.
    """
    prepared = open_prepared(data_dir)
    if load_vocabulary(prepared.subwords_path).pieces != loaded.vocabulary.pieces:
        raise UserError(
            f"{prepared.subwords_path}: is not the vocabulary that the model was trained with",
            fix="give the DATA_DIR that it was trained on with --data",
        )
    if not len(prepared.train):
        raise UserError(f"{data_dir}: has no training text", fix="give another DATA_DIR with --data")
    return prepared.train


def root_mean_squares(
    model: LanguageModel, corpus: ParallelCorpus, settings: DynamicEvaluation, progress: Progress = silent
) -> RootMeanSquares:
    """Measure how large the gradients of a model usually are, on training text. The model stays as it is."""
    model = _learning_copy(model)
    device = next(model.parameters()).device
    sums = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    state = None
    for number, batch in enumerate(_batches(corpus, settings), start=1):
        with torch.enable_grad(), full_precision():
            output, after = model.continued(batch.to(device), state)
            (-model.label_log_probabilities(output).mean()).backward()
        state = after.detached()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                sums[name].addcmul_(parameter.grad, parameter.grad)
                parameter.grad = None
        progress("read training text", number, settings.statistics_batches, "batches")
    return {name: total.div_(settings.statistics_batches).sqrt_() for name, total in sums.items()}


def _batches(corpus: ParallelCorpus, settings: DynamicEvaluation) -> Iterator[Batch]:
    """Yield the batches of the statistics: each row goes on where it ended in the one before."""
    text = RunningText(corpus)
    num_rows = max(1, min(MOST_ROWS, text.num_tokens // settings.segment_tokens))
    starts_B = np.arange(num_rows, dtype=np.int64) * (text.num_tokens // num_rows)
    for number in range(settings.statistics_batches):
        yield text.batch(starts_B + number * settings.segment_tokens, settings.segment_tokens)


class DynamicModel:
    """A copy of a language model that learns; the one it is made of stays as it is."""

    def __init__(self, model: LanguageModel, settings: DynamicEvaluation, usual: RootMeanSquares) -> None:
        """Copy the model; ``usual`` is what :func:`root_mean_squares` says of it."""
        self.model = _learning_copy(model)
        total = sum(float(usual[name].sum(dtype=torch.float64)) for name, _ in model.named_parameters())
        mean = total / sum(p.numel() for p in model.parameters())
        per_mean = settings.decay / mean if mean > 0 else 0.0
        learning = dict(self.model.named_parameters())
        # Parameter, where training left it, what a gradient is multiplied by, and the share of the way back.
        self._parts = [
            (
                learning[name],
                trained.detach(),
                settings.learning_rate / (usual[name] + settings.epsilon),
                (usual[name] * per_mean).clamp_(max=1.0),
            )
            for name, trained in model.named_parameters()
        ]

    def learn(self, mean_loss: Tensor) -> None:
        """Take the step of a segment that has been scored; ``mean_loss`` is over its tokens, with its graph."""
        mean_loss.backward()
        with torch.no_grad():
            for parameter, trained, rate, back in self._parts:
                gradient, parameter.grad = parameter.grad, None
                parameter.lerp_(trained, back)
                if gradient is not None:
                    parameter.addcmul_(gradient, rate, value=-1)


def _learning_copy(model: LanguageModel) -> LanguageModel:
    """Return a copy for inference, of which there are gradients."""
    copied = copy.deepcopy(model).eval().requires_grad_(True)
    for module in copied.modules():
        if isinstance(module, nn.LSTM):
            module.train()  # it has no dropout of its own, and cuDNN gives no gradient otherwise
    return copied
