"""Starts of two processes whose experts are spread over them: the numbers are those of one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mtmoe.checkpoint import RunFiles, find_checkpoint, load_manifest, read_weights
from mtmoe.config import Recipe, recipe_from_dict
from mtmoe.training.reporting import SilentReporter
from mtmoe.training.trainer import run_training
from tests.distributed.processes.group import run_group
from tests.toy import prepared_toy, toy_settings

SHORT: dict[str, Any] = {
    "precision": "fp32",
    "max_steps": 4,
    "save_every_steps": 4,
    "validation": {"every_steps": 4, "metric": "loss", "translate_sentences": 0},
}
AVERAGED = {"ema": {"decay": 0.5, "every_steps": 1}}


def train(recipe: Recipe, run: Path, data: Path, resume: bool = False) -> None:
    run_training(recipe, run, data, resume=resume, reporter=SilentReporter())


def test_two_processes_start_from_two_as_one_starts_from_them(tmp_path):
    """Four experts on two processes become eight, the encoder stays as it is; the run is then resumed by one."""
    recipe, data = prepared_toy(tmp_path, **SHORT)
    run_group(2, train, recipe, tmp_path / "base", data)
    assert (find_checkpoint(RunFiles(tmp_path / "base"), "last").path / "model").is_dir()
    settings = toy_settings(tmp_path, **SHORT, **AVERAGED, start={"run": str(tmp_path / "base"), "frozen": ["encoder"]})
    settings["model"]["moe"] |= {"num_experts": 8, "experts_per_token": 4}
    settings["model"]["dropout"] = 0.0
    grown = recipe_from_dict(settings, tmp_path / "toy.toml")
    train(grown, tmp_path / "one", data)
    run_group(2, train, grown, tmp_path / "two", data)
    assert load_manifest(RunFiles(tmp_path / "one")) == load_manifest(RunFiles(tmp_path / "two"))
    for step in ("0", "4"):
        one, two = (read_weights(find_checkpoint(RunFiles(tmp_path / run), step).path) for run in ("one", "two"))
        assert one.keys() == two.keys()
        for name in one:
            difference = (one[name] - two[name]).abs().double()
            # Adam divides by gradients: of one that is nearly 0, rounding decides what a single weight does.
            largest, mean = (2e-3, 1e-6) if step == "4" else (1e-12, 1e-12)
            assert float(difference.max()) < largest, (step, name)
            assert float(difference.mean()) < mean, (step, name)
    settings["training"]["max_steps"] = 5
    (tmp_path / "base").rename(tmp_path / "gone")
    train(recipe_from_dict(settings, tmp_path / "toy.toml"), tmp_path / "two", data, resume=True)
    assert find_checkpoint(RunFiles(tmp_path / "two"), "last").step == 5


def test_two_processes_resume_from_the_weights_that_they_began_with(tmp_path):
    """Step 0 has no moments: its shards are read all the same."""
    recipe, data = prepared_toy(tmp_path, **SHORT)
    train(recipe, tmp_path / "base", data)
    settings = toy_settings(tmp_path, **SHORT, start={"run": str(tmp_path / "base")})
    started = recipe_from_dict(settings, tmp_path / "toy.toml")
    run_group(2, train, started, tmp_path / "two", data)
    expected = read_weights(find_checkpoint(RunFiles(tmp_path / "two"), "4").path)
    for checkpoint in (tmp_path / "two" / "checkpoints").glob("step-00000004"):
        checkpoint.rename(tmp_path / "other")
    (tmp_path / "base").rename(tmp_path / "gone")
    run_group(2, train, started, tmp_path / "two", data, True)
    found = read_weights(find_checkpoint(RunFiles(tmp_path / "two"), "4").path)
    assert all(float((found[name] - expected[name]).abs().max()) < 1e-6 for name in expected)
