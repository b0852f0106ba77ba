"""Confidence: fitted to what is known, measured on what is not, kept in the run, and absent where it says nothing."""

from __future__ import annotations

import json
import math
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from mtmoe.checkpoint import open_run
from mtmoe.errors import UserError
from mtmoe.inference.requests import Member
from mtmoe.inference.scoring.calibration import calibrated, reliability, reliability_of
from mtmoe.inference.scoring.confidence import FEATURES, Confidence, FeatureWeight, features_of, save_confidence
from mtmoe.inference.translation import Translation
from mtmoe.inference.translator import Translator

LINES = ["Where is the station?", "", "TWO DOGS PLAY IN THE SNOW.", "Snow"]


def _translation(text: str, *log_probabilities: float) -> Translation:
    return Translation(text, num_tokens=len(log_probabilities), token_log_probabilities=log_probabilities)


def _told(number: int, seed: int) -> tuple[list[str], list[Translation], list[str]]:
    """Lines whose translations are right with a probability of 1 / (1 + exp(-(2 m + 1))), m being their mean."""
    generator = random.Random(seed)
    translations, references = [], []
    for _ in range(number):
        mean = generator.gauss(-0.5, 1.0)
        is_right = generator.random() < 1 / (1 + math.exp(-(2 * mean + 1)))
        translations.append(_translation("Zwei Hunde.", mean - 0.1, mean + 0.1))
        references.append("Zwei Hunde." if is_right else "Xyz")
    return ["Two dogs."] * number, translations, references


def test_a_fit_finds_the_law_by_which_lines_were_drawn_and_is_calibrated_on_others() -> None:
    confidence = calibrated(*_told(4000, seed=1), chrf_threshold=50, checkpoint="step-1")
    for mean in (-2.0, -0.5, 1.0):
        found = confidence.probability("Two dogs.", _translation("Zwei Hunde.", mean - 0.1, mean + 0.1))
        assert found == pytest.approx(1 / (1 + math.exp(-(2 * mean + 1))), abs=0.04)
    measured = reliability_of(confidence, *_told(4000, seed=2))
    assert measured.expected_calibration_error < 0.03
    assert measured.auc is not None
    assert measured.auc > 0.8
    assert sum(row.num_lines for row in measured.rows) == measured.num_lines == 4000
    # Of another law it is not, and the error says so.
    sources, translations, references = _told(4000, seed=3)
    assert reliability_of(confidence, sources, translations, references[::-1]).expected_calibration_error > 0.1


def test_expected_calibration_error_and_rows_are_those_of_a_sum_by_hand() -> None:
    found = reliability([0.05, 0.02, 0.91, 1.0, 0.95], [False, True, True, True, False])
    assert [row.lowest for row in found.rows] == [0.0, 0.9]
    assert [row.num_lines for row in found.rows] == [2, 3]
    low, high = found.rows
    assert (low.mean_confidence, low.share_good) == pytest.approx((0.035, 0.5))
    assert (high.mean_confidence, high.share_good) == pytest.approx((0.9533333, 2 / 3))
    assert found.expected_calibration_error == pytest.approx(0.4 * 0.465 + 0.6 * (0.9533333 - 2 / 3), abs=1e-6)
    assert found.auc == pytest.approx(3 / 6), "good: 0.02, 0.91, 1.0; bad: 0.05, 0.95"
    assert reliability([0.5, 0.5], [True, False]).auc == 0.5
    assert reliability([0.5], [True]).auc is None


def test_features_are_those_of_the_line() -> None:
    translation = _translation("abcd", -1.0, -3.0)._replace(suspicions=("loop",))
    values = dict(zip(FEATURES, features_of("ab", translation), strict=True))
    assert values["mean_log_probability"] == -2.0
    assert values["lowest_log_probability"] == -3.0
    assert values["log_num_tokens"] == pytest.approx(math.log(2))
    assert values["length_difference"] == pytest.approx(math.log(5 / 3))
    assert values["is_suspicious"] == 1.0


def test_a_threshold_that_all_or_none_reach_is_refused() -> None:
    sources, translations, _ = _told(50, seed=1)
    with pytest.raises(UserError, match="50 of 50 translations have a chrF of 50 or more"):
        calibrated(sources, translations, ["Zwei Hunde."] * 50, chrf_threshold=50, checkpoint="x")
    with pytest.raises(UserError, match="0 of 0 translations"):
        calibrated([""], [Translation("")], ["a"], chrf_threshold=50, checkpoint="x")


# ------------------------------------------------------------------------------------------------------- in a run


@pytest.fixture
def run(run_directory: Path, tmp_path: Path) -> Path:
    """A copy of the untrained run, with a calibration."""
    copy = tmp_path / "run"
    shutil.copytree(run_directory, copy)
    name = Translator(copy, device="cpu").loaded.checkpoint.name
    features = (FeatureWeight(name="mean_log_probability", mean=-3.0, scale=2.0, weight=1.5),)
    confidence = Confidence(checkpoint=name, chrf_threshold=50, num_lines=9, bias=0.25, features=features)
    save_confidence(open_run(copy), confidence)
    return copy


def test_translations_of_a_calibrated_run_have_the_confidence_of_their_own_numbers(
    run: Path, run_directory: Path
) -> None:
    found = Translator(run, device="cpu").translate(LINES)
    for translation, plain in zip(found, Translator(run_directory, device="cpu").translate(LINES), strict=True):
        assert plain.confidence is None
        assert translation._replace(confidence=None) == plain
        if not plain.num_tokens:
            assert translation.confidence is None
            continue
        mean = float(np.mean(plain.token_log_probabilities))
        expected = 1 / (1 + math.exp(-(0.25 + 1.5 * (mean + 3.0) / 2.0)))
        assert translation.confidence == pytest.approx(expected)
    assert len({t.confidence for t in found}) == 4


@pytest.mark.parametrize(
    "arguments",
    [
        {"overrides": ["decoding.beam_size=1", "decoding.sampling.seed=1"]},
        {"overrides": ["decoding.minimum_bayes_risk.utility=chrf"]},
        {"checkpoint": "last:1"},
        {"ensemble": ()},
    ],
)
def test_there_is_none_for_numbers_that_are_other_ones(run: Path, run_directory: Path, arguments) -> None:
    if "ensemble" in arguments:
        arguments = {"ensemble": [Member(run_directory)]}
    found = Translator(run, device="cpu", **arguments).translate(LINES)
    assert {t.confidence for t in found} == {None}


def test_there_is_none_for_another_checkpoint(run: Path) -> None:
    path = open_run(run).confidence
    path.write_text(path.read_text().replace('"checkpoint":"', '"checkpoint":"not-').replace('t": "', 't": "not-'))
    assert json.loads(path.read_text())["checkpoint"].startswith("not-")
    assert Translator(run, device="cpu").translate(["Snow"])[0].confidence is None


def test_a_damaged_calibration_is_told_with_what_to_do(run: Path) -> None:
    path = open_run(run).confidence
    path.write_text(path.read_text().replace("0.25", '"much"'))
    with pytest.raises(UserError) as error:
        Translator(run, device="cpu")
    assert error.value.problem.startswith(f"{path}: damaged: bias: ")
    assert error.value.fix == f"make it anew: mtmoe calibrate {run}"
