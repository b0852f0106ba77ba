"""A whole run of two processes: data, validation, metrics, checkpoints, and going on with one."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from mtmoe.checkpoint import RunFiles, average_checkpoints, list_checkpoints, load_model, load_training
from mtmoe.config import Recipe, recipe_from_dict
from mtmoe.data.prepared.preparation import prepare
from mtmoe.training.metrics.expert_usage import FIGURES
from mtmoe.training.reporting import SilentReporter
from mtmoe.training.trainer import Finished, run_training
from tests.distributed.processes.group import run_group
from tests.hardware import NEEDS_BF16
from tests.toy import counting_recipe, prepared_toy, toy_settings, write_text

SETTINGS = {"precision": "fp32", "max_steps": 8, "keep_last": 4, "log_every_steps": 1}


class Stopping(SilentReporter):
    """Sends this process a SIGTERM after a step, as a scheduler does."""

    def __init__(self, step: int) -> None:
        self.step_to_stop = step

    def advanced(self, step: int) -> None:
        if step == self.step_to_stop:
            os.kill(os.getpid(), signal.SIGTERM)


def train(recipe: Recipe, run: Path, data: Path, resume: bool, stop: int = 0) -> Finished:
    return run_training(recipe, run, data, resume=resume, reporter=Stopping(stop))


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Path, Path, list[Finished]]:
    """A run of one process; and one of two processes, stopped after step 5 and finished by one process."""
    place = tmp_path_factory.mktemp("toy")
    recipe, data = prepared_toy(place, **SETTINGS)
    run_training(recipe, place / "one", data, resume=False, reporter=SilentReporter())
    stopped = run_group(2, train, recipe, place / "two", data, False, 5)
    run_training(recipe, place / "two", data, resume=True, reporter=SilentReporter())
    return place / "one", place / "two", stopped


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), pytest.param("bf16", 2e-2, marks=NEEDS_BF16)])
def test_a_language_model_goes_on_with_another_number_of_processes_where_it_was(tmp_path, precision, tolerance):
    """The states of the rows are put together, and divided anew."""
    recipe = counting_recipe(tmp_path, precision=precision, max_steps=8, keep_last=4, log_every_steps=1)
    prepare(recipe, tmp_path / "data", tmp_path / "cache")
    run_training(recipe, tmp_path / "one", tmp_path / "data", resume=False, reporter=SilentReporter())
    run_group(2, train, recipe, tmp_path / "two", tmp_path / "data", False, 5)
    run_training(recipe, tmp_path / "two", tmp_path / "data", resume=True, reporter=SilentReporter())
    losses = [[line["loss"] for line in metrics(tmp_path / run) if line["event"] == "train"] for run in ("one", "two")]
    assert len(losses[0]) == 8
    assert losses[1] == pytest.approx(losses[0], rel=tolerance)
    shapes = [
        {name: tensor.shape for name, tensor in load_training(last.path)[1].items() if name.startswith("carried.")}
        for last in (list_checkpoints(RunFiles(tmp_path / run))[-1] for run in ("one", "two"))
    ]
    assert shapes[0] == shapes[1]
    assert shapes[0]


def test_a_curriculum_is_the_same_for_any_number_of_processes(tmp_path):
    """Two processes stop at the step at which the weights change, and one goes on."""
    settings = toy_settings(tmp_path, **SETTINGS)
    settings["data"]["train"].append(write_text(tmp_path, "other", 200, seed=7))
    settings["training"]["curriculum"] = [
        {"source": "other", "weight": 0.0, "from_step": 0},
        {"source": "train", "weight": 0.0, "from_step": 5},
        {"source": "other", "weight": 1.0, "from_step": 5},
    ]
    recipe = recipe_from_dict(settings, tmp_path / "toy.toml")
    prepare(recipe, tmp_path / "data", tmp_path / "cache")
    run_training(recipe, tmp_path / "one", tmp_path / "data", resume=False, reporter=SilentReporter())
    run_group(2, train, recipe, tmp_path / "two", tmp_path / "data", False, 5)
    run_training(recipe, tmp_path / "two", tmp_path / "data", resume=True, reporter=SilentReporter())
    steps = [[line for line in metrics(tmp_path / run) if line["event"] == "train"] for run in ("one", "two")]
    for expected, found in zip(*steps, strict=True):
        assert (found["step"], found["epoch"]) == (expected["step"], expected["epoch"])
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    assert [line["epoch"] for line in steps[0]] == [0] * 5 + [1] * 3


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_signal_to_one_process_stops_all_after_the_same_step(runs):
    assert runs[2] == [Finished("signal", 5, signal.SIGTERM)] * 2


def test_its_metrics_are_those_of_one_process(runs):
    one, two = metrics(runs[0]), metrics(runs[1])
    assert [(line["event"], line["step"], line["epoch"]) for line in one] == [
        (line["event"], line["step"], line["epoch"]) for line in two
    ]
    figures = [f"encoder.moe1.{name}" for name in (*FIGURES, "dead_experts", "importance_loss", "load_loss")]
    assert one[0].keys() >= set(figures)
    for expected, found in zip(one, two, strict=True):
        for key in ("loss", "gradient_norm", "padding_share", *figures, "bleu"):
            if key in expected:
                assert found[key] == pytest.approx(expected[key], rel=1e-3), (key, found["step"])


def test_its_checkpoints_are_read_by_one_process(runs):
    checkpoints = list_checkpoints(RunFiles(runs[1]))
    assert [(c.path / "model").is_dir() for c in checkpoints] == [c.step <= 5 for c in checkpoints]
    assert {c.step for c in checkpoints} == {4, 5, 6, 8}
    for name in ("4", "6", "8"):
        expected = dict(load_model(runs[0], name).model.named_parameters())
        found = dict(load_model(runs[1], name).model.named_parameters())
        for key in expected:
            assert float((found[key] - expected[key]).detach().abs().max()) < 1e-4, (name, key)
    assert average_checkpoints(runs[1], ["4", "8"]).step == 8
