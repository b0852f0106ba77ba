"""``mtmoe calibrate``: what it keeps in the run, what it tells, and what it refuses."""

from __future__ import annotations

import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest
from sacrebleu.metrics.chrf import CHRF

from mtmoe.inference.files.line_formats import JsonFormat
from mtmoe.inference.files.model_identity import model_identity
from mtmoe.inference.files.translation_options import TranslationOptions


@pytest.fixture
def run(tiny_run: Any, tmp_path: Path) -> Path:
    """A copy of the tiny run, without a link to its data."""
    shutil.copytree(tiny_run.run, tmp_path / "run", ignore=shutil.ignore_patterns("data"))
    return tmp_path / "run"


def _lines(path: Path, number: int = 60) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()[:number]


def test_a_calibrated_run_tells_its_confidence_and_how_far_it_can_be_trusted(
    invoke: Any, tiny_run: Any, run: Path, tmp_path: Path
) -> None:
    source, reference = tmp_path / "some.en", tmp_path / "some.fr"
    for path, name in ((source, "train.en"), (reference, "train.fr")):
        path.write_text("".join(f"{line}\n" for line in _lines(tiny_run.folder / name)), encoding="utf-8")
    translated = invoke("translate", run, "--device", "cpu", input=source.read_bytes()).stdout.splitlines()
    scores = [
        CHRF().sentence_score(*pair).score for pair in zip(translated, ([r] for r in _lines(reference)), strict=True)
    ]
    threshold = f"{statistics.median(scores):.3f}"
    text = ("--source", source, "--reference", reference, "--data", tiny_run.data, "--chrf", threshold)
    result = invoke("calibrate", run, *text, "--device", "cpu", "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["confidence"] == json.loads((run / "confidence.json").read_text())
    assert told["confidence"]["chrf_threshold"] == float(threshold)
    assert told["confidence"]["num_lines"] == 60
    assert sum(row["num_lines"] for row in told["tests"]["test"]["rows"]) == 8
    shown = invoke("calibrate", run, *text, "--device", "cpu").stdout
    assert shown.startswith("test: 8 lines, ")
    assert "expected calibration error 0." in shown
    line = json.dumps({"text": _lines(source)[0]}) + "\n\n"
    [answer, *_] = invoke("translate", run, "--format", "json", "--device", "cpu", input=line).stdout.splitlines()
    assert 0 < json.loads(answer)["confidence"] < 1


def test_what_was_begun_before_a_calibration_is_not_gone_on_with_in_json(run: Path) -> None:
    as_json, as_text = TranslationOptions(run, format=JsonFormat()), TranslationOptions(run)
    before = [model_identity(options) for options in (as_json, as_text)]
    found = []
    for content in ("one", "another"):
        (run / "confidence.json").write_text(content)
        assert model_identity(as_text) == before[1]
        found.append(model_identity(as_json))
    assert before[0] != found[0] != found[1] != before[0]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--source", "x.en"), 2, "--source and --reference are given together"),
        (("--checkpoint", "last:2"), 2, "is the mean of several; calibrate one of them"),
        ((), 1, "data: there is no such directory\ngive the DATA_DIR of `mtmoe preprocess` with --data"),
    ],
)
def test_what_cannot_be_calibrated_is_told(
    invoke: Any, run: Path, arguments: tuple[str, ...], status: int, message: str
) -> None:
    result = invoke("calibrate", run, *arguments)
    assert result.exit_code == status
    assert message in result.stderr


def test_a_dev_set_of_a_few_lines_is_too_small(invoke: Any, tiny_run: Any, run: Path) -> None:
    result = invoke("calibrate", run, "--data", tiny_run.data, "--device", "cpu")
    assert result.exit_code == 1
    assert "of 6 translations have a chrF of 50 or more, and a calibration needs 10" in result.stderr
    assert not (run / "confidence.json").exists()
