"""Forced decoding: how likely a model finds given translations.

The score of a line that ``mtmoe translate`` wrote is the one that it reported: both normalise and encode the text
alike, leave out of it what passes through, and truncate the source alike. (Not with ``decoding.shortlist``: what it
reports then is normalised over the words of the line, and what is scored here over the whole vocabulary.)

Letters: B sentences, T target positions, S source positions, X rows, P proposed words of a row.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mtmoe.checkpoint import LoadedRun
from mtmoe.config.settings import Decoding
from mtmoe.data.batches.token_batches import batch_of
from mtmoe.errors import UserError
from mtmoe.inference.constraints.pass_through import PassThrough
from mtmoe.inference.models.ensemble import Ensemble
from mtmoe.inference.models.ensemble_loading import LoadedEnsemble
from mtmoe.inference.models.inference_precision import full_precision
from mtmoe.inference.search.gnmt_score import coverage_penalty, length_penalty
from mtmoe.inference.search.hypothesis import Hypothesis
from mtmoe.inference.search.next_words.shortlist import ListedWords
from mtmoe.inference.search.search_model import SearchModel
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.inference.search.source_batching import group_by_length, pad_with_eos
from mtmoe.inference.text.lines import encode_sources, encode_targets
from mtmoe.model.translation import TranslationModel
from mtmoe.progress import Progress, silent
from mtmoe.vocabulary import BOS

_WINDOW_LINES = 2048


class Score(NamedTuple):
    """Log-probability of one target line given its source line, natural logarithms."""

    log_probability: float
    num_tokens: int
    """Subwords with the end of sentence; 0 for a line that was not scored."""
    token_log_probabilities: tuple[float, ...]
    warning: str = ""


def score_pairs(
    loaded: LoadedRun | LoadedEnsemble,
    sources: Iterable[str],
    targets: Iterable[str],
    *,
    decoding: Decoding | None = None,
    names: Callable[[], Sequence[str]] = tuple,
    progress: Progress = silent,
) -> Iterator[Score]:
    """Score line after line: one score for each pair, in order, none left out.

    A blank target is scored as the end of sentence alone. A source without text (blank, or over-long with
    ``decoding.over_long = "empty"``) is never given to the model: its score is 0.0 for 0 tokens, as in
    translating, with a warning if there was something to score.

    Args:
        loaded: the model.
        sources: source lines; read a window at a time.
        targets: their translations.
        decoding: in place of the recipe's, as for translating.
        names: as for :class:`mtmoe.inference.constraints.pass_through.PassThrough`.

    Raises:
        UserError: one side has more lines; both counts are named. Raised before scoring where the counts
            are known.
    """
    if isinstance(sources, Sequence) and isinstance(targets, Sequence):
        _check_line_counts(len(sources), len(targets))
        total = len(sources)
    else:
        total = None
    decoding, recipe = decoding or loaded.recipe.decoding, loaded.recipe
    pass_through = PassThrough(decoding, loaded.subwords, recipe.data, recipe.subwords.user_symbols, names)
    return _scores(loaded, pass_through, iter(sources), iter(targets), decoding, progress, total)


def perplexity(scores: Iterable[Score]) -> float:
    """Return exp of the mean negative log-probability per token, ends of sentences counted.

    Raises:
        UserError: no token was scored.
    """
    log_probability, num_tokens = 0.0, 0
    for score in scores:
        log_probability += score.log_probability
        num_tokens += score.num_tokens
    if not num_tokens:
        raise UserError("no line was scored, so there is no perplexity", fix="give source lines that are not blank")
    return perplexity_of(log_probability, num_tokens)


def perplexity_of(log_probability: float, num_tokens: int) -> float:
    """Return the perplexity; infinite where no float is so large.

    That is so of "words" of thousands of letters, with more than 709 nats each.
    """
    try:
        return math.exp(-log_probability / num_tokens)
    except OverflowError:
        return math.inf


@torch.inference_mode()
def force_decode(
    model: SearchModel[Any, Any],
    source_BS: Tensor,
    source_lengths_B: Tensor,
    targets: Sequence[Sequence[int]],
    options: SearchOptions,
    listed: ListedWords | None = None,
) -> list[Hypothesis]:
    """Return what the search would have reported, had it found ``targets`` (ids without special symbols).

    ``listed``: probabilities over the words of the source, whose number is its place here, and not over all.
    """
    labels_BT, lengths_B = pad_with_eos(targets, source_BS.device)
    inputs_BT = torch.cat([torch.full_like(labels_BT[:, :1], BOS), labels_BT[:, :-1]], dim=1)
    state = model.initial_state(model.encode(source_BS, source_lengths_B))
    coverage_BS = torch.zeros(source_BS.shape, device=source_BS.device)
    log_probabilities = []
    for position in range(labels_BT.shape[1]):
        hidden_BD, attention_BS, state = model.decode_step(inputs_BT[:, position], state)
        labels_B1 = labels_BT[:, position, None]
        if listed is None:
            log_probabilities.append(model.project(hidden_BD).log_softmax(dim=-1).gather(1, labels_B1))
        else:
            log_probabilities.append(listed.next_words(hidden_BD, np.arange(len(targets)), 1, labels_B1).proposed_XP)
        coverage_BS += attention_BS * (position < lengths_B)[:, None]
    log_probabilities_BT = torch.cat(log_probabilities, dim=1).double().cpu()
    is_real_BS = torch.arange(source_BS.shape[1], device=source_BS.device) < source_lengths_B[:, None]
    penalties_B = coverage_penalty(coverage_BS, is_real_BS, options.coverage_beta).tolist()
    hypotheses = []
    for target, row_T, penalty in zip(targets, log_probabilities_BT, penalties_B, strict=True):
        tokens = tuple(row_T[: len(target) + 1].tolist())
        log_probability = sum(tokens)
        score = log_probability / length_penalty(len(tokens), options.length_alpha) + penalty
        hypotheses.append(Hypothesis(tuple(target), log_probability, score, tokens, cut_off=False))
    return hypotheses


def _scores(
    loaded: LoadedRun | LoadedEnsemble,
    pass_through: PassThrough,
    sources: Iterator[str],
    targets: Iterator[str],
    decoding: Decoding,
    progress: Progress,
    total: int | None,
) -> Iterator[Score]:
    num_done = 0
    while True:
        source_lines = list(itertools.islice(sources, _WINDOW_LINES))
        target_lines = list(itertools.islice(targets, _WINDOW_LINES))
        if len(source_lines) != len(target_lines):
            num_sources = num_done + len(source_lines) + sum(1 for _ in sources)
            num_targets = num_done + len(target_lines) + sum(1 for _ in targets)
            _check_line_counts(num_sources, num_targets)
        if not source_lines:
            return
        yield from _window_scores(loaded, pass_through, source_lines, target_lines, decoding)
        num_done += len(source_lines)
        progress("score", num_done, total, "sentences")


def _window_scores(
    loaded: LoadedRun | LoadedEnsemble,
    pass_through: PassThrough,
    source_lines: Sequence[str],
    target_lines: Sequence[str],
    decoding: Decoding,
) -> list[Score]:
    recipe = loaded.recipe
    pairs = list(map(pass_through.masked_pair, source_lines, target_lines))
    sources = encode_sources([source for source, _ in pairs], loaded.subwords, decoding, recipe.data)
    targets = encode_targets([target for _, target in pairs], loaded.subwords)
    scores = [_not_scored(source.warning, target) for source, target in zip(sources, targets, strict=True)]
    worded = [index for index, source in enumerate(sources) if source.ids]
    found = token_log_probabilities(
        loaded.model,
        [sources[index].ids for index in worded],
        [targets[index] for index in worded],
        max(1, decoding.batch_tokens // decoding.beam_size),  # as many as a search has at a time
    )
    for index, tokens in zip(worded, found, strict=True):
        scores[index] = Score(sum(tokens), len(tokens), tokens, sources[index].warning)
    return scores


@torch.inference_mode()
def token_log_probabilities(
    model: TranslationModel | Ensemble,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    batch_tokens: int,
) -> list[tuple[float, ...]]:
    """Return the log-probabilities of each target given its source: of its subwords, then of its end."""
    found: list[tuple[float, ...]] = [()] * len(sources)
    device = next(model.parameters()).device
    lengths = [max(len(source), len(target)) + 1 for source, target in zip(sources, targets, strict=True)]
    for group in group_by_length(lengths, batch_tokens):
        batch = batch_of([sources[index] for index in group], [targets[index] for index in group])
        with full_precision():
            log_probabilities_BT = model.log_probabilities(batch.to(device)).double().cpu()
        for index, row_T in zip(group, log_probabilities_BT, strict=True):
            found[index] = tuple(row_T[: len(targets[index]) + 1].tolist())
    return found


def _not_scored(warning: str, target: Sequence[int]) -> Score:
    if target:
        warning = f"not scored: {warning or 'the source line is blank, but the target line is not'}"
    return Score(0.0, 0, (), warning)


def _check_line_counts(num_sources: int, num_targets: int) -> None:
    if num_sources != num_targets:
        raise UserError(
            f"the source has {num_sources} lines, but the target has {num_targets}",
            fix="line n of the target must translate line n of the source; a blank line counts as a line",
        )
