"""``mtmoe tune-decoding``, and the end of a training, which does the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mtmoe.training import decoding_tuning


@pytest.fixture(autouse=True)
def _few_lines_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_tuning, "FEWEST_LINES", 6)
    monkeypatch.setattr("mtmoe.inference.fast_decoding.best_family", lambda: "avx2")


def test_a_training_ends_with_it(invoke: Any, tiny_recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = invoke("train", tiny_recipe, run, "--device", "cpu", "--set", "training.max_steps=3")
    assert result.exit_code == 0, result.stderr
    kept = json.loads((run / "fast_decoding.json").read_text())
    assert (kept["num_lines"], kept["checkpoint"]) == (6, "step-00000003")
    assert "translates with " in result.stderr
    assert "6 dev lines" in result.stderr


def test_it_shows_what_it_tried_and_marks_what_it_keeps(invoke: Any, tiny_run: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run.run, run, ignore=shutil.ignore_patterns("data"))
    shown = invoke("tune-decoding", run, "--data", tiny_run.data)
    assert shown.exit_code == 0, shown.stderr
    rows = [line for line in shown.stdout.splitlines() if "decoding." in line or "as the recipe" in line]
    assert len(rows) == len(decoding_tuning.WAYS) + 1
    assert sum(row.endswith("yes") for row in rows) == 1
    text = ("--source", tiny_run.folder / "test.en", "--reference", tiny_run.folder / "test.fr")
    told = json.loads(invoke("tune-decoding", run, *text, "--json").stdout)
    assert told["kept"] == json.loads((run / "fast_decoding.json").read_text())
    assert told["kept"]["num_lines"] == 8
    assert told["measured"][0]["settings"] == {}


def test_what_it_cannot_do_is_said(invoke: Any, tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_tuning, "FEWEST_LINES", 200)
    run = tmp_path / "run"
    shutil.copytree(tiny_run.run, run, ignore=shutil.ignore_patterns("data"))
    result = invoke("tune-decoding", run, "--data", tiny_run.data)
    assert result.exit_code == 1
    assert "6 dev lines, which are to be at least 200" in result.stderr
    assert not (run / "fast_decoding.json").exists()
    other = invoke("tune-decoding", tmp_path / "nowhere")
    assert other.exit_code == 1
    assert f"no run {tmp_path / 'nowhere'}: it does not exist" in other.stderr
    assert invoke("tune-decoding", run, "--source", tiny_run.folder / "test.en").exit_code == 2
