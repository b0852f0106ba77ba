"""Rescoring: language models, and a model of the other direction, that take part in the score of a translation.

The score of a translation Y of X with them, which is told as the sum and in its parts (:class:`ScorePart`)::

    s(Y, X) = (log P(Y|X) + sum over parts of weight x value) / lp(Y) + cp(X; Y)

Every part is that of the text as it is written: ``mtmoe score`` gives its value again (to a language model of running
text the translation is the first line). In fusion the search has added
the language model's part step by step; all others are added to what it has found, which is then sorted again.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mtmoe.checkpoint import LoadedLanguageModel, LoadedRun, load_language_model, load_model
from mtmoe.config.settings import Decoding
from mtmoe.errors import UserError
from mtmoe.inference.constraints.terminology import Terminology
from mtmoe.inference.models.ensemble_loading import LoadedEnsemble
from mtmoe.inference.models.inference_precision import prepare_for_search
from mtmoe.inference.models.shallow_fusion import FusedModel
from mtmoe.inference.scoring.forced_decoding import token_log_probabilities
from mtmoe.inference.scoring.language_model_scoring import SentenceReader, first_token
from mtmoe.inference.search.gnmt_score import length_penalty
from mtmoe.inference.search.hypothesis import Hypothesis
from mtmoe.inference.search.search_model import SearchModel
from mtmoe.inference.text.lines import encode_sources, encode_targets
from mtmoe.languages import same_language


class RescoringRuns(NamedTuple):
    """Run directories; what is empty takes no part.

    language_model: searches along, over the very vocabulary of the translation run. reranking_language_model: of the
    target language, with any vocabulary. reranking_channel: translates from the target into the source language.
    """

    language_model: str = ""
    reranking_language_model: str = ""
    reranking_channel: str = ""

    @property
    def reranks(self) -> bool:
        """Return whether a run puts what the search found in another order."""
        return bool(self.reranking_language_model or self.reranking_channel)


class ScorePart(NamedTuple):
    """What another run, or the length, has to say of a translation; weight x value is added."""

    name: str
    weight: float
    value: float


class NBestEntry(NamedTuple):
    """A translation of one sentence, with its text; ``hypothesis`` has the numbers of the text as encoded anew."""

    source: str
    text: str
    hypothesis: Hypothesis


class Rescorer:
    """The loaded runs that rescore translations, or take part in the search."""

    def __init__(
        self, runs: RescoringRuns, loaded: LoadedRun | LoadedEnsemble, decoding: Decoding, device: str | torch.device
    ) -> None:
        """Load the best checkpoint of each.

        Args:
            loaded: the translation run that they help.

        Raises:
            UserError: not a run of that kind, other languages or another vocabulary; a setting for a run that is
                not there.
        """
        self.runs, self.decoding = runs, decoding
        self.fused: LoadedLanguageModel | None = None
        self._language_model: LoadedLanguageModel | None = None
        self._channel: LoadedRun | None = None
        if runs.language_model:
            if decoding.shortlist is not None:
                raise UserError(
                    f"--lm {runs.language_model} and decoding.shortlist exclude each other: a language model has an "
                    "opinion of every word",
                    fix="--set decoding.shortlist=false, or use the model with --rerank-lm",
                )
            self.fused = _language_model_of(runs.language_model, loaded, device)
            _check_vocabulary(runs.language_model, self.fused, loaded)
            prepare_for_search(self.fused.model, decoding.precision)
        if runs.reranking_language_model:
            self._language_model = _language_model_of(runs.reranking_language_model, loaded, device)
        if runs.reranking_channel:
            self._channel = _channel_of(runs.reranking_channel, loaded, device)

    def searching(self, model: SearchModel[Any, Any]) -> SearchModel[Any, Any]:
        """Return the model to search with: the translation model, or one that is fused with a language model."""
        if self.fused is None:
            return model
        weight = self.decoding.language_model.weight
        return FusedModel(model, self.fused.model, weight, first_token=first_token(self.fused))

    def num_candidates(self, num_best: int) -> int:
        """Return how many hypotheses the search is to find of each sentence, so that ``num_best`` can be chosen.

        Raises:
            UserError: more are wanted than there are candidates.
        """
        if not self.runs.reranks:
            return num_best
        candidates = self.decoding.reranking.candidates or self.decoding.beam_size
        if num_best > candidates:
            raise UserError(
                f"num_best = {num_best} is more than the {candidates} candidates of reranking",
                fix=f"--set decoding.reranking.candidates={num_best}, with a beam of at least as many",
            )
        return candidates

    def parts(self, entries: Sequence[NBestEntry]) -> list[tuple[ScorePart, ...]]:
        """Return the parts of each entry's score that are not the translation model's."""
        weights, texts = self.decoding.reranking, [entry.text for entry in entries]
        columns = []
        if self.fused is not None:
            values = SentenceReader(self.fused).read([entry.hypothesis.ids for entry in entries])
            columns.append(_column("language_model", self.decoding.language_model.weight, values))
        if self._language_model is not None:
            encoded = self._language_model.vocabulary.encode_batch(texts)
            values = SentenceReader(self._language_model).read(encoded)
            columns.append(_column("reranking_language_model", weights.language_model_weight, values))
        if self._channel is not None:
            values = self._channel_values(self._channel, entries)
            columns.append(_column("reranking_channel", weights.channel_weight, values))
        if self.runs.reranks and weights.length_bonus:
            lengths = [float(len(entry.hypothesis.token_log_probabilities)) for entry in entries]
            columns.append(_column("length", weights.length_bonus, lengths))
        return list(zip(*columns, strict=True)) if columns else [()] * len(entries)

    def _channel_values(self, channel: LoadedRun, entries: Sequence[NBestEntry]) -> list[float]:
        """Return log P(X|Y); an empty translation is read as such, where `mtmoe score` has no score."""
        texts = [entry.text for entry in entries]
        sources = [
            line.ids for line in encode_sources(texts, channel.subwords, channel.recipe.decoding, channel.recipe.data)
        ]
        targets = encode_targets([entry.source for entry in entries], channel.subwords)
        batch_tokens = max(1, self.decoding.batch_tokens // self.decoding.beam_size)
        found = token_log_probabilities(channel.model, sources, targets, batch_tokens)
        return [sum(tokens) for tokens in found]


def with_parts(hypothesis: Hypothesis, parts: Sequence[ScorePart], length_alpha: float) -> Hypothesis:
    """Return the hypothesis with the parts in its score."""
    if not parts:
        return hypothesis
    penalty = length_penalty(len(hypothesis.token_log_probabilities), length_alpha)
    return hypothesis._replace(score=hypothesis.score + sum(part.weight * part.value for part in parts) / penalty)


def added_up(parts: Sequence[tuple[ScorePart, ...]]) -> tuple[ScorePart, ...]:
    """Return the parts of a line from those of the sentences that it was split into."""
    return tuple(of_name[0]._replace(value=sum(part.value for part in of_name)) for of_name in zip(*parts, strict=True))


def check_settings_are_used(overrides: Sequence[str], runs: RescoringRuns, terms: Terminology | None) -> None:
    """Raise UserError for a ``decoding.*`` override that says something of a run, or of terms, that take no part."""
    needed = {
        "decoding.language_model": ("--lm", "RUN", runs.language_model),
        "decoding.reranking.language_model_weight": ("--rerank-lm", "RUN", runs.reranking_language_model),
        "decoding.reranking.channel_weight": ("--rerank-channel", "RUN", runs.reranking_channel),
        "decoding.reranking": ("--rerank-lm or --rerank-channel", "RUN", runs.reranks),
        "decoding.soft_terms": ("--terms", "FILE", terms),
    }
    for override in overrides:
        for key, (option, argument, given) in needed.items():
            if override.startswith(key) and not given:
                raise UserError(f"--set {override}: does nothing without {option}", fix=f"add {option} {argument}")


def _column(name: str, weight: float, values: Sequence[float]) -> list[ScorePart]:
    return [ScorePart(name, weight, value) for value in values]


def _language_model_of(run: str, loaded: LoadedRun | LoadedEnsemble, device: str | torch.device) -> LoadedLanguageModel:
    language_model = load_language_model(run, device=device)
    language, target = language_model.recipe.data.target_language, loaded.recipe.data.target_language
    if not same_language(language, target) and loaded.recipe.data.multilingual is None:
        raise UserError(
            f"{run}: is a language model of {language!r}, but {loaded.recipe.name} translates into {target!r}",
            fix="train one on text of the target language",
        )
    return language_model


def _check_vocabulary(run: str, language_model: LoadedLanguageModel, loaded: LoadedRun | LoadedEnsemble) -> None:
    own, theirs = loaded.subwords.path, language_model.vocabulary.path
    if own.read_bytes() != theirs.read_bytes():
        raise UserError(
            f"the language model has another vocabulary than the translation model: "
            f"{_named(theirs, language_model.vocabulary.size)}, {_named(own, loaded.subwords.size)}",
            fix=f"train it on the subwords of the other: mtmoe train RECIPE {shlex.quote(f'{run}-2')} "
            f"--subwords-of {shlex.quote(str(own.parent))}; "
            "or use it with --rerank-lm, which reads text",
        )


def _named(path: Path, size: int) -> str:
    return f"{path} has {size:,} entries (SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()[:8]})"


def _channel_of(run: str, loaded: LoadedRun | LoadedEnsemble, device: str | torch.device) -> LoadedRun:
    channel = load_model(run, device=device)
    forth, back = loaded.recipe.data, channel.recipe.data
    fits = same_language(forth.source_language, back.target_language)
    fits = fits and same_language(forth.target_language, back.source_language)
    if not fits or forth.multilingual is not None:
        raise UserError(
            f"{run}: translates {back.languages}, but the channel of {loaded.recipe.name} ({forth.languages}) goes "
            "the other way between the same two languages",
            fix="train a run with the two sides exchanged",
        )
    return channel
