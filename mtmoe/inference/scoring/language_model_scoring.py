"""Language model scoring: how likely a model finds given text, line by line.

The rule of the perplexities: a line is a sentence; each of its words (or subwords) is predicted, and its end as one
more, so that a blank line is one prediction. A word that the vocabulary lacks is predicted as ``<unk>``, with the
probability of that class; perplexities of models with different vocabularies can be compared only where no such word
occurs. ``per_word`` divides by words and ends, whatever the model's tokens are, and ``per_token`` by tokens and ends.

A model that was trained on running text reads each line after all lines before it (:mod:`.running_text_reader`); any
other reads each by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch

from mtmoe.checkpoint import LoadedLanguageModel
from mtmoe.data.batches.padding import ragged, text_batch
from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.errors import UserError
from mtmoe.inference.models.inference_precision import full_precision
from mtmoe.inference.scoring.dynamic_evaluation import RootMeanSquares
from mtmoe.inference.scoring.forced_decoding import perplexity_of
from mtmoe.inference.scoring.running_text_reader import RunningReader
from mtmoe.inference.search.source_batching import group_by_length
from mtmoe.languages import num_words
from mtmoe.progress import Progress, silent
from mtmoe.vocabulary import BOS, EOS, UNK

WINDOW_LINES = 1024
_BATCH_TOKENS = 4096


class LineScore(NamedTuple):
    """Log-probability of one line in nats; its end is one of its words and one of its tokens.

    num_unknown: tokens that the vocabulary lacks.
    """

    log_probability: float
    num_words: int
    num_tokens: int
    num_unknown: int


class TextScore(NamedTuple):
    """Sums over all lines."""

    log_probability: float
    num_lines: int
    num_words: int
    num_tokens: int
    num_unknown: int

    @property
    def per_word(self) -> float:
        """Return the perplexity per word."""
        return perplexity_of(self.log_probability, self.num_words)

    @property
    def per_token(self) -> float:
        """Return the perplexity per subword; the same for a vocabulary of words."""
        return perplexity_of(self.log_probability, self.num_tokens)


def total(scores: Sequence[LineScore]) -> TextScore:
    """Add up the lines.

    Raises:
        UserError: there is none.
    """
    if not scores:
        raise UserError("there is no line to score, so there is no perplexity", fix="give a text of at least one line")
    sums = [sum(column) for column in zip(*scores, strict=True)]
    return TextScore(sums[0], len(scores), *(int(number) for number in sums[1:]))


def score_text(
    loaded: LoadedLanguageModel,
    lines: Iterable[str],
    progress: Progress = silent,
    usual: RootMeanSquares | None = None,
) -> Iterator[LineScore]:
    """Yield one score for each line, in order, as the recipe's ``[scoring]`` says; lines are read a window at a time.

    Args:
        usual: for ``scoring.dynamic``, where the whole text is one window: what
            :func:`mtmoe.inference.scoring.dynamic_evaluation.root_mean_squares` says of the model.
    """
    iterator = iter(lines)
    reader = RunningReader(loaded, usual, progress) if loaded.recipe.training.bptt_steps else SentenceReader(loaded)
    num_done, language = 0, loaded.recipe.data.target_language
    # Segments, from which is learned, do not end where a window would.
    num_lines = WINDOW_LINES if loaded.recipe.scoring.dynamic is None else None
    while window := list(itertools.islice(iterator, num_lines)):
        texts = [normalise_line(line) for line in window]
        encoded = loaded.vocabulary.encode_batch(texts)
        for text, ids, log_probability in zip(texts, encoded, reader.read(encoded), strict=True):
            yield LineScore(log_probability, num_words(text, language) + 1, len(ids) + 1, ids.count(UNK))
        num_done += len(window)
        progress("score", num_done, None, "lines")


def first_token(loaded: LoadedLanguageModel) -> int:
    """Return what a text begins with: running text (the first line, too) comes after the end of a line."""
    return EOS if loaded.recipe.training.bptt_steps else BOS


class SentenceReader:
    """Each line by itself, as the first of a text."""

    def __init__(self, loaded: LoadedLanguageModel) -> None:
        self._model, self._first_token = loaded.model, first_token(loaded)
        self._device = next(loaded.model.parameters()).device

    @torch.inference_mode()
    def read(self, lines: Sequence[Sequence[int]]) -> list[float]:
        """Return log P of each line, its end included: ids without special symbols."""
        scores = [0.0] * len(lines)
        for group in group_by_length([len(ids) + 1 for ids in lines], _BATCH_TOKENS):
            batch = text_batch(ragged([lines[index] for index in group])).to(self._device)
            batch.target_BT[:, 0] = self._first_token
            with full_precision():
                log_BT = self._model.log_probabilities(batch).double().cpu()
            for index, row_T in zip(group, log_BT, strict=True):
                scores[index] = float(row_T.sum())
        return scores
