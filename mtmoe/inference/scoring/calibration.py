"""Calibration: the weights of a run's confidence, fitted to a dev set, and how well probabilities agree with outcomes.

Letters: B sentences, F features, G features and the bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.chrf import CHRF

from mtmoe.errors import UserError
from mtmoe.inference.scoring.confidence import FEATURES, Confidence, FeatureWeight, features_of
from mtmoe.inference.translation import Translation

FEWEST_OF_EACH = 10
"""Good and bad translations that a fit needs."""
_PENALTY = 1.0  # of the weights' squares, halved: that of a normal prior with variance 1
_MOST_ITERATIONS, _TOLERANCE = 100, 1e-10
_NUM_BINS = 10


class ReliabilityRow(NamedTuple):
    """Translations whose confidence lies in one tenth of the range; means are shares, 0 to 1."""

    lowest: float
    num_lines: int
    mean_confidence: float
    share_good: float


class Reliability(NamedTuple):
    """How well confidence agrees with outcomes on text that it was not fitted to.

    expected_calibration_error: mean over lines of |mean confidence - share of good ones| of their row.
    auc: how likely a good translation has more confidence than a bad one; 0.5 says nothing. None without both kinds.
    """

    rows: tuple[ReliabilityRow, ...]
    num_lines: int
    share_good: float
    expected_calibration_error: float
    auc: float | None


def calibrated(
    sources: Sequence[str],
    translations: Sequence[Translation],
    references: Sequence[str],
    *,
    chrf_threshold: float,
    checkpoint: str,
) -> Confidence:
    """Fit the confidence of a run to translations of a dev set; lines without a translation do not count.

    Raises:
        UserError: hardly any, or nearly all, of the translations are good.
    """
    features_BF, is_good_B = _told(sources, translations, references, chrf_threshold)
    num_good = int(is_good_B.sum())
    if min(num_good, len(is_good_B) - num_good) < FEWEST_OF_EACH:
        raise UserError(
            f"{num_good} of {len(is_good_B)} translations have a chrF of {chrf_threshold:g} or more, and a calibration "
            f"needs {FEWEST_OF_EACH} with and {FEWEST_OF_EACH} without",
            fix="choose another threshold with --chrf, or give more text with --source and --reference",
        )
    mean_F, scale_F = features_BF.mean(axis=0), features_BF.std(axis=0)
    scale_F = np.where(scale_F > 1e-9, scale_F, 1.0)
    weights_F, bias = _logistic((features_BF - mean_F) / scale_F, is_good_B)
    parts = zip(FEATURES, mean_F.tolist(), scale_F.tolist(), weights_F.tolist(), strict=True)
    return Confidence(
        checkpoint=checkpoint,
        chrf_threshold=chrf_threshold,
        num_lines=len(is_good_B),
        bias=bias,
        features=tuple(FeatureWeight(name=n, mean=m, scale=s, weight=w) for n, m, s, w in parts),
    )


def reliability_of(
    confidence: Confidence, sources: Sequence[str], translations: Sequence[Translation], references: Sequence[str]
) -> Reliability:
    """Return how well the confidence of translations agrees with whether they are good.

    Raises:
        UserError: there is nothing to measure.
    """
    chrf = CHRF()
    confidences, outcomes = [], []
    for source, translation, reference in zip(sources, translations, references, strict=True):
        probability = confidence.probability(source, translation)
        if probability is not None:
            confidences.append(probability)
            outcomes.append(_is_good(chrf, translation, reference, confidence.chrf_threshold))
    if not confidences:
        raise UserError("there are no translations to measure", fix="give text that has lines which are not blank")
    return reliability(confidences, outcomes)


def reliability(confidences: Sequence[float], outcomes: Sequence[bool]) -> Reliability:
    """Return rows for each tenth of the range, and the expected calibration error of Guo et al. 2017 (eq. 3)."""
    confidence_B, is_good_B = np.array(confidences), np.array(outcomes, dtype=np.float64)
    bin_B = np.minimum((confidence_B * _NUM_BINS).astype(int), _NUM_BINS - 1)
    rows, error = [], 0.0
    for number in range(_NUM_BINS):
        inside_B = bin_B == number
        if inside_B.any():
            mean, share = float(confidence_B[inside_B].mean()), float(is_good_B[inside_B].mean())
            rows.append(ReliabilityRow(number / _NUM_BINS, int(inside_B.sum()), mean, share))
            error += abs(mean - share) * float(inside_B.mean())
    return Reliability(
        tuple(rows), len(outcomes), float(is_good_B.mean()), error, _area_under_curve(confidence_B, is_good_B > 0)
    )


def _told(
    sources: Sequence[str], translations: Sequence[Translation], references: Sequence[str], chrf_threshold: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the features [B, F] and whether translations are good [B], of lines that were translated."""
    chrf = CHRF()
    rows, outcomes = [], []
    for source, translation, reference in zip(sources, translations, references, strict=True):
        if translation.num_tokens:
            rows.append(features_of(source, translation))
            outcomes.append(_is_good(chrf, translation, reference, chrf_threshold))
    return np.array(rows).reshape(-1, len(FEATURES)), np.array(outcomes, dtype=np.float64)


def _is_good(chrf: CHRF, translation: Translation, reference: str, chrf_threshold: float) -> bool:
    return bool(chrf.sentence_score(translation.text, [reference]).score >= chrf_threshold)


def _logistic(features_BF: NDArray[np.float64], is_good_B: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Return the weights [F] and the bias of the penalised maximum of likelihood, by Newton's method."""
    design_BG = np.concatenate([features_BF, np.ones((len(features_BF), 1))], axis=1)
    penalty_G = np.full(design_BG.shape[1], _PENALTY)
    penalty_G[-1] = 0.0
    weights_G = np.zeros(design_BG.shape[1])
    for _ in range(_MOST_ITERATIONS):
        probability_B = 1 / (1 + np.exp(-np.clip(design_BG @ weights_G, -500, 500)))
        gradient_G = design_BG.T @ (is_good_B - probability_B) - penalty_G * weights_G
        curvature_B = np.maximum(probability_B * (1 - probability_B), 1e-12)
        hessian_GG = design_BG.T @ (design_BG * curvature_B[:, None]) + np.diag(penalty_G)
        step_G = np.linalg.solve(hessian_GG, gradient_G)
        weights_G = weights_G + step_G
        if np.abs(step_G).max() < _TOLERANCE:
            break
    return weights_G[:-1], float(weights_G[-1])


def _area_under_curve(confidence_B: NDArray[np.float64], is_good_B: NDArray[np.bool_]) -> float | None:
    """Return the share of pairs of a good and a bad line in which the good one has more confidence; equal ones half."""
    good, bad = confidence_B[is_good_B], np.sort(confidence_B[~is_good_B])
    if not len(good) or not len(bad):
        return None
    below = np.searchsorted(bad, good, side="left") + np.searchsorted(bad, good, side="right")
    return float(below.mean() / 2 / len(bad))
