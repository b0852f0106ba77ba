"""Metrics of a run as typed records, and the lines of ``metrics.jsonl`` that they become.

Means are over the batches or target tokens since the last line; LAYER is an MoE layer, such as ``encoder.moe1``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

MOST_SHARES_LISTED = 64  # more experts than this have the quantiles of their shares

Line = dict[str, Any]
"""Numbers, texts and lists of numbers by name: what a line of ``metrics.jsonl`` holds."""


class LayerMetrics(NamedTuple):
    """How the experts of one layer were used: the columns of the paper's Table 6, and the tokens received.

    The first five are means over the batches. A CV is a standard deviation of the population, divided by the mean.
    """

    importance_cv: float
    """CV of the importance of eq. 6."""
    load_cv: float
    """CV of the load of eq. 10; of the tokens received where a gate draws no noise."""
    max_over_mean_load: float
    """Largest load, divided by the mean load."""
    tokens_cv: float
    """CV of the numbers of tokens that the experts received."""
    max_over_mean_tokens: float
    """Most tokens that an expert received, divided by the mean."""
    dead_experts: int
    """Number of experts that received no token since the last line."""
    token_share_E: tuple[float, ...]
    """Share of the tokens since the last line that each expert received; sums to 1, or is all 0."""
    auxiliary_losses: Mapping[str, float]
    """Mean of each weighted auxiliary loss, by its name: importance, load, threshold."""

    @property
    def token_entropy(self) -> float:
        """Entropy of the shares, divided by its largest: 1 is evenly spread, 0 is one expert with all tokens."""
        shares_E = np.array(self.token_share_E)
        shares_E = shares_E[shares_E > 0]
        entropy = -(shares_E * np.log(shares_E)).sum() / math.log(max(len(self.token_share_E), 2))
        return abs(round(float(entropy), 6))

    def line(self, layer: str) -> Line:
        """Return the numbers by ``LAYER.NAME``; ``token_share`` of many experts as minimum, median and maximum."""
        names = self._fields[: self._fields.index("token_share_E")]
        return {
            **{f"{layer}.{name}": getattr(self, name) for name in names},
            f"{layer}.token_entropy": self.token_entropy,
            **self._shares(layer),
            **{f"{layer}.{name}_loss": loss for name, loss in self.auxiliary_losses.items()},
        }

    def _shares(self, layer: str) -> Line:
        if len(self.token_share_E) <= MOST_SHARES_LISTED:
            return {f"{layer}.token_share": [round(share, 6) for share in self.token_share_E]}
        quantiles = np.quantile(np.array(self.token_share_E), (0.0, 0.5, 1.0)).tolist()
        names = ("min", "median", "max")
        return {f"{layer}.token_share_{name}": value for name, value in zip(names, quantiles, strict=True)}


@dataclass(frozen=True, kw_only=True)
class WindowMetrics:
    """Means and rates since the last line of metrics. Time spent validating and saving is not counted."""

    loss: float
    """Cross-entropy in nats per target token, without label smoothing."""
    perplexity: float
    """exp(loss)."""
    auxiliary_loss: float
    """Weighted auxiliary losses of all MoE layers together, per step."""
    teacher_loss: float | None = None
    """With `training.distillation`: KL divergence of the network from its teachers, in nats per target token, at
    their temperature and times its square; 0 where it says what they say. Without its weight."""
    consistency_loss: float | None = None
    """With `training.consistency`: mean of the two KL divergences between both readings, in nats per target token.
    Without its weight."""
    alignment_loss: float | None = None
    """With `training.guided_alignment`: cross-entropy of the attention from the alignment, in nats per target token.
    Without its weight."""
    gradient_norm: float
    """Global norm before clipping, per step."""
    target_tokens_per_second: float
    """Subwords of translations with the end of sentence, without padding."""
    source_and_target_tokens_per_second: float
    """The same of both sides."""
    padding_share: float
    """Share of the positions of batches that are padding, 0 to 1."""
    eta_seconds: float
    """Time that the steps that are left will take."""


@dataclass(frozen=True, kw_only=True)
class TrainingMetrics(WindowMetrics):
    """A line of event "train": every ``log_every_steps``."""

    event: ClassVar[str] = "train"

    step: int
    """Optimizer steps since the first."""
    max_steps: int
    """Steps in all."""
    epoch: int
    """Passes over the corpus that are complete."""
    tflops_per_device: float
    """10^12 floating-point operations per second and process, as the paper counts them."""
    learning_rate: float
    """Of the last step."""
    skipped_steps: int
    """Steps since the first that changed nothing: for a loss that was not finite, or for lack of memory."""
    out_of_memory_steps: int
    """Those of them that lacked memory."""
    layers: Mapping[str, LayerMetrics]

    @property
    def max_load_cv(self) -> float | None:
        """The ``load_cv`` of the layer where it is largest; None without MoE layers."""
        return max((layer.load_cv for layer in self.layers.values()), default=None)

    def line(self) -> Line:
        """Return the numbers by name, those of a layer by ``LAYER.NAME``."""
        line = {k: v for k, v in _plain_fields(self, left_out=("layers",)).items() if v is not None}
        for name, layer in self.layers.items():
            line |= layer.line(name)
        return line if self.max_load_cv is None else line | {"max_load_cv": self.max_load_cv}


class LanguageRouting(NamedTuple):
    """Which experts of a layer the tokens of one dev set go to."""

    token_share_E: tuple[float, ...]
    """Share of the set's tokens that each expert received."""
    routing_distance: float
    """Share of the set's tokens, 0 to 1, that would have to go to another expert to be spread as those of all other
    sets together are (total variation distance)."""


class DevSetMetrics(NamedTuple):
    """What was measured on one of several dev sets. Those who translate nothing have no BLEU."""

    loss: float | None = None
    """Cross-entropy in nats per target token of this set."""
    bleu: float | None = None
    """sacreBLEU of this set."""
    bleu_signature: str | None = None
    """sacreBLEU's signature; without the set where all sets have the same."""
    routing: Mapping[str, LanguageRouting] = {}
    """By layer."""


class TranslationExample(NamedTuple):
    """A sentence of the dev set, detokenised."""

    source: str
    reference: str
    translation: str


@dataclass(frozen=True, kw_only=True)
class ModelQuality:
    """What a validation measures of a model, over all dev sets. BLEU and chrF are means over the sets."""

    loss: float
    """Cross-entropy in nats per target token, without label smoothing."""
    perplexity: float
    """exp(loss)."""
    bleu: float | None = None
    """sacreBLEU of the translations; absent where nothing is translated."""
    chrf: float | None = None
    """chrF2 of the translations."""
    length_ratio: float | None = None
    """Characters of the translations, divided by those of the references."""
    dev_sets: Mapping[str, DevSetMetrics] = field(default_factory=dict)
    """By name, in the order of the recipe."""
    examples: tuple[TranslationExample, ...] = ()
    """The first translations, for people to look at: a list of objects with source, reference and translation."""

    def value(self, metric: str) -> float:
        """Return "loss", "perplexity" or "bleu"; 0 where it was not measured, as BLEU by all processes but one."""
        return {"loss": self.loss, "perplexity": self.perplexity, "bleu": self.bleu or 0.0}[metric]

    def line(self) -> Line:
        """Return the numbers by name, and the examples; of several dev sets also by ``NAME.SET`` and
        ``LAYER.NAME.SET``."""
        line = {k: v for k, v in _plain_fields(self, left_out=("dev_sets", "examples")).items() if v is not None}
        signatures = {s.bleu_signature for s in self.dev_sets.values() if s.bleu_signature is not None}
        if len(signatures) == 1:
            line["bleu_signature"] = signatures.pop()
        else:
            line |= {f"bleu_signature.{n}": s.bleu_signature for n, s in self.dev_sets.items() if s.bleu_signature}
        if self.examples:
            line["examples"] = [example._asdict() for example in self.examples]
        return line | (dict(self._by_set()) if len(self.dev_sets) > 1 else {})

    def _by_set(self) -> Iterator[tuple[str, Any]]:
        for name, measured in self.dev_sets.items():
            if measured.loss is not None:
                yield f"loss.{name}", measured.loss
            if measured.bleu is not None:
                yield f"bleu.{name}", measured.bleu
            for layer, routing in measured.routing.items():
                if len(routing.token_share_E) <= MOST_SHARES_LISTED:
                    yield f"{layer}.token_share.{name}", [round(share, 6) for share in routing.token_share_E]
                yield f"{layer}.routing_distance.{name}", routing.routing_distance


@dataclass(frozen=True, kw_only=True)
class ValidationMetrics:
    """A line of event "validation": a model's quality, and how it compares with those before."""

    event: ClassVar[str] = "validation"

    step: int
    """Optimizer steps since the first."""
    epoch: int
    """Passes over the corpus that are complete."""
    quality: ModelQuality
    metric: str
    """The one that chooses the best checkpoint: bleu, loss or perplexity."""
    best_step: int
    """Step of the best validation so far."""
    best_value: float
    """Its value of the metric."""
    seconds: float
    """Time that the validation took."""

    def line(self) -> Line:
        """Return the numbers by name."""
        return _plain_fields(self, left_out=("quality",)) | self.quality.line()


class InterpolationTrial(NamedTuple):
    """BLEU of weights between those of step 0 and the trained ones."""

    share: float
    """How near they are to the trained ones: 0 has the weights of step 0, 1 has the trained ones."""
    new_bleu: float
    """Of the new text: the mean over its dev sets."""
    old_bleu: float
    """Of the dev set of `data.replay`."""


@dataclass(frozen=True, kw_only=True)
class InterpolationMetrics:
    """A line of event "interpolation": where training ends with `training.start.interpolation`. A line of event
    "validation" follows, of the weights that are kept, if these are not the trained ones."""

    event: ClassVar[str] = "interpolation"

    step: int
    """Optimizer steps since the first."""
    trained_share: float | None
    """Of the weights that are kept; absent where none between the two serve, so that the trained ones stay."""
    most_lost_bleu: float
    """BLEU that the old text may lose."""
    trials: tuple[InterpolationTrial, ...]
    """In their order."""
    seconds: float
    """Time that they took."""

    def line(self) -> Line:
        """Return the numbers by name, those of the trials as lists."""
        line = {k: v for k, v in _plain_fields(self, left_out=("trials",)).items() if v is not None}
        names = InterpolationTrial._fields
        return line | {name: [getattr(trial, name) for trial in self.trials] for name in names}


@dataclass(frozen=True, kw_only=True)
class AlarmMetrics:
    """A line of event "alarm": something that a person should look at, told once. See ``alarms.py``."""

    event: ClassVar[str] = "alarm"

    step: int
    """Optimizer steps since the first."""
    alarm: str
    """Its name: collapse, dead experts, overload, divergence, loss not finite, overfitting, length drift or leak."""
    where: str | None
    """The MoE layer that it is about; absent where it is about none."""
    text: str
    """What was found, and what to do."""
    settings: Mapping[str, float | bool]
    """Settings that are likely to help, with their values now."""

    def line(self) -> Line:
        """Return everything by name."""
        return {k: v for k, v in _plain_fields(self, left_out=()).items() if v is not None}


class RunSummary(NamedTuple):
    """What is trained, on which text and machine: told before the first step."""

    step: int
    """The step of the checkpoint that training goes on from; 0 for a new run."""
    max_steps: int
    task: str
    num_parameters: int
    """Of all processes together, each counted once."""
    num_train_pairs: int
    num_left_out_pairs: int
    """Training pairs that are too long."""
    num_valid_pairs: int
    device: str
    num_threads: int
    num_processes: int
    expert_processes: int
    """Processes that have one copy of each expert between them."""
    precision: str


def _plain_fields(record: Any, left_out: tuple[str, ...]) -> Line:
    names = (f.name for f in dataclasses.fields(record) if f.name not in left_out)
    return {name: getattr(record, name) for name in names}
