"""Starts of two processes whose experts are spread over them: the numbers are those of one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtmoe.checkpoint import RunFiles, find_checkpoint, load_manifest, load_state, read_weights
from mtmoe.config import Recipe, recipe_from_dict
from mtmoe.data.prepared.preparation import prepare
from mtmoe.distributed.mesh import rank_and_size
from mtmoe.model.translation import TranslationModel
from mtmoe.training import trainer
from mtmoe.training.metrics.records import DevSetMetrics, ModelQuality
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


def train_measured(recipe: Recipe, run: Path, data: Path, begun: np.ndarray, resume: bool = False) -> None:
    """Train with dev sets of which the old one loses as much as the embeddings move away from ``begun``."""

    def measure(model: TranslationModel) -> ModelQuality:
        far = (
            float((model.target_embedding_VD.detach() - torch.from_numpy(begun)).norm())
            if rank_and_size()[0] == 0
            else 0.0
        )
        sets = {"new": DevSetMetrics(bleu=10 + far), "replay": DevSetMetrics(bleu=60 - far)}
        return ModelQuality(loss=1.0, perplexity=2.7, bleu=35.0, dev_sets=sets)

    trainer.validator_of = lambda *_: measure  # type: ignore[assignment]  # of a process that ends with this
    train(recipe, run, data, resume)


def test_two_processes_interpolate_what_one_does(tmp_path):
    """Each its own experts, by the shares that the main one finds; two go on from what they have saved."""
    recipe, data = prepared_toy(tmp_path, **SHORT)
    train(recipe, tmp_path / "base", data)
    begun = read_weights(find_checkpoint(RunFiles(tmp_path / "base"), "4").path)

    def started(most_lost: float, max_steps: int) -> Recipe:
        start = {"run": str(tmp_path / "base"), "interpolation": {"most_lost_bleu": most_lost}}
        settings = toy_settings(tmp_path, **SHORT | {"max_steps": max_steps}, start=start)
        settings["data"]["replay"] = {"data_dir": str(data), "weight": 0.1}
        settings["subwords"]["file"] = str(data / "subwords.model")
        settings["model"]["dropout"] = 0.0
        return recipe_from_dict(settings, tmp_path / "toy.toml")

    new = tmp_path / "new"
    prepare(started(0.0, 4), new, tmp_path / "cache")
    embeddings = begun["target_embedding_VD"].numpy()
    for num, name in ((1, "one"), (2, "two")):
        run_group(num, train_measured, started(0.3, 4), tmp_path / name, new, embeddings)
    one, two = (find_checkpoint(RunFiles(tmp_path / name), "best") for name in ("one", "two"))
    assert load_state(one.path).trained_share == load_state(two.path).trained_share
    assert 0 < load_state(two.path).trained_share < 1
    first, second = read_weights(one.path), read_weights(two.path)
    for name in first:
        assert float((first[name] - second[name]).abs().mean()) < 1e-6, name
        assert not torch.equal(second[name], begun[name])
    run_group(2, train_measured, started(0.3, 6), tmp_path / "two", new, embeddings, True)
    run_group(2, train_measured, started(0.3, 6), tmp_path / "whole", new, embeddings)
    parts, whole = (read_weights(find_checkpoint(RunFiles(tmp_path / name), "6").path) for name in ("two", "whole"))
    assert all(torch.equal(parts[name], whole[name]) for name in whole)
