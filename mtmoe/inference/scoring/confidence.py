"""Confidence: how likely the translation of a line is good, by a calibration that is kept in the run.

Good means: sentence chrF2 against the reference is at least a threshold. The probability is a logistic function of what
the translation's own numbers say (:data:`FEATURES`), with weights that :mod:`.calibration` fits to a dev set.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field

from mtmoe.checkpoint import ModelSource, RunFiles
from mtmoe.config.settings import Decoding
from mtmoe.inference.translation import Translation
from mtmoe.system.atomic_files import write_atomically
from mtmoe.system.json_files import JsonRecord, parse_json

Feature = Literal[
    "mean_log_probability", "lowest_log_probability", "log_num_tokens", "length_difference", "is_suspicious"
]
FEATURES: tuple[Feature, ...] = get_args(Feature)
"""Of a translation's subwords the mean and the lowest log-probability; the logarithm of their number; how far apart the
logarithms of both sides' lengths in characters are; whether its looks are suspicious."""
CONFIDENCE_NAME = "confidence.json"
CONFIDENCE_FORMAT_VERSION = 1


class FeatureWeight(JsonRecord):
    """The part of one feature: weight x (value - mean) / scale is added."""

    name: Feature
    mean: float
    scale: float = Field(gt=0)
    weight: float


class Confidence(JsonRecord):
    """The calibration of a run: the content of its file ``confidence.json``."""

    format_version: int = CONFIDENCE_FORMAT_VERSION
    checkpoint: str
    """Name of the checkpoint that it is of; translations of another one have no confidence."""
    chrf_threshold: float
    """A translation with at least this sentence chrF2, 0 to 100, is good."""
    num_lines: int
    """Lines that the weights were fitted to."""
    bias: float
    features: tuple[FeatureWeight, ...]

    def probability(self, source: str, translation: Translation) -> float | None:
        """Return how likely the translation is good; None where nothing was translated."""
        if not translation.num_tokens:
            return None
        values = dict(zip(FEATURES, features_of(source, translation), strict=True))
        logit = self.bias
        for feature in self.features:
            logit += feature.weight * (values[feature.name] - feature.mean) / feature.scale
        return 1 / (1 + math.exp(-max(min(logit, 500.0), -500.0)))


def features_of(source: str, translation: Translation) -> tuple[float, ...]:
    """Return the values of :data:`FEATURES`; the translation has tokens."""
    tokens = translation.token_log_probabilities
    lengths = [math.log(1 + len(text.strip())) for text in (source, translation.text)]
    return (
        sum(tokens) / len(tokens),
        min(tokens),
        math.log(len(tokens)),
        abs(lengths[1] - lengths[0]),
        float(bool(translation.suspicions)),
    )


def save_confidence(run: RunFiles, confidence: Confidence) -> None:
    """Write the calibration into the run, in place of an earlier one."""
    write_atomically(run.confidence, f"{confidence.model_dump_json(indent=1)}\n".encode())


def load_confidence(
    source: ModelSource, checkpoint: str, decoding: Decoding, *, is_alone: bool, is_mean: bool = False
) -> Confidence | None:
    """Return the calibration of a model's checkpoint; None if there is none that says something of its translations.

    Numbers of samples, of the choice of minimum Bayes risk, of a mean of checkpoints, or of several models are others
    than those that it was fitted to.

    Args:
        checkpoint: name of the one that translates.
        is_alone: whether no other model takes part.
        is_mean: whether the weights are the mean of several checkpoints.

    Raises:
        UserError: its file is damaged.
    """
    searches_usually = decoding.sampling is None and decoding.minimum_bayes_risk is None
    if not (is_alone and searches_usually) or is_mean:
        return None
    content = source.read(CONFIDENCE_NAME)
    if content is None:
        return None
    fix = f"make it anew: mtmoe calibrate {_shown(source.path)}"
    confidence = parse_json(
        content, source.shown(CONFIDENCE_NAME), Confidence, fix=fix, format_version=CONFIDENCE_FORMAT_VERSION
    )
    return confidence if confidence.checkpoint == checkpoint else None


def _shown(directory: Path) -> str:
    import shlex

    return shlex.quote(str(directory))
