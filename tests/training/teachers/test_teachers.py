"""Training with teachers: exact resume, who may teach, and that it teaches."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from mtmoe.checkpoint import RunFiles, find_checkpoint, last_checkpoint, load_manifest, load_training
from mtmoe.config import recipe_from_dict
from mtmoe.config.settings import Subwords
from mtmoe.data.batches.padding import batch_of
from mtmoe.data.subwords.sentencepiece_model import train_subwords
from mtmoe.errors import UserError
from mtmoe.model.ops.rows import real_positions
from mtmoe.training.reporting import SilentReporter
from mtmoe.training.teachers.teacher_runs import load_teachers, teacher_records
from mtmoe.training.teachers.teachers import mean_probabilities
from mtmoe.training.trainer import run_training
from tests.hardware import BF16
from tests.toy import toy_settings

SHORT: dict[str, Any] = {
    "precision": "fp32",
    "max_steps": 8,
    "validation": {"every_steps": 8, "translate_sentences": 4},
}
THOROUGH: dict[str, Any] = {
    "ema": {"decay": 0.9, "every_steps": 2},
    "gradient_accumulation": 2,
    "consistency": {"weight": 2.0},
}


@pytest.fixture(scope="module")
def trained(toy_place, tmp_path_factory) -> Path:
    """Two runs: one that has learned a little, and one of another shape."""
    place = tmp_path_factory.mktemp("teachers")
    settings = toy_settings(toy_place, **SHORT | {"max_steps": 30, "keep_last": 2})
    for name, model in (("teacher", {}), ("wide", {"width": 40, "moe": {"kind": "dense"}})):
        recipe = recipe_from_dict(settings | {"model": settings["model"] | model}, place / "toy.toml")
        run_training(recipe, place / name, toy_place / "data", resume=False, reporter=SilentReporter())
    return place


@pytest.fixture
def teacher(trained, tmp_path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(trained / "teacher", tmp_path / "teacher"))


@pytest.fixture
def wide(trained, tmp_path) -> Path:
    """The other."""
    return Path(shutil.copytree(trained / "wide", tmp_path / "wide"))


def taught(*teachers: Path, **more: Any) -> dict[str, Any]:
    return SHORT | {"distillation": {"teachers": [str(path) for path in teachers], **more}}


def train(recipe, run: Path, data: Path, *, resume: bool = False, stop: int = 0) -> list[dict[str, Any]]:
    """Train, stopped by a signal after a step, and return the lines of metrics."""

    class Stopping(SilentReporter):
        def advanced(self, step: int) -> None:
            if step == stop:
                os.kill(os.getpid(), signal.SIGTERM)

    run_training(recipe, run, data, resume=resume, reporter=Stopping())
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "second" not in k and "flops" not in k} for line in lines]


def assert_same_bits(one: Path, other: Path) -> None:
    first, second = (last_checkpoint(RunFiles(run)) for run in (one, other))
    assert first is not None
    assert second is not None
    for these, those in zip(load_training(first.path)[:2], load_training(second.path)[:2], strict=True):
        assert these.keys() == those.keys()
        assert all(torch.equal(these[name], those[name]) for name in these)


@pytest.mark.parametrize("precision", ["fp32", "fp16", BF16])
def test_a_taught_run_that_was_stopped_has_the_bits_and_metrics_of_one_that_never_stopped(
    toy, toy_data, teacher, wide, tmp_path, precision
):
    recipe = toy(**taught(teacher, wide, top_k=20) | THOROUGH | {"precision": precision})
    whole = train(recipe, tmp_path / "whole", toy_data)
    train(recipe, tmp_path / "parts", toy_data, stop=5)
    assert train(recipe, tmp_path / "parts", toy_data, resume=True) == whole
    assert_same_bits(tmp_path / "whole", tmp_path / "parts")
    steps = [line for line in whole if line["event"] == "train"]
    assert all(line["teacher_loss"] > 0 for line in steps)
    assert all(line["consistency_loss"] > 0 for line in steps)


def test_a_student_comes_nearer_to_its_teacher_and_learns_what_it_knows(toy, toy_data, teacher, tmp_path):
    recipe = toy(**taught(teacher, weight=1.0) | {"max_steps": 60, "label_smoothing": 0.0, "log_every_steps": 10})
    steps = [line for line in train(recipe, tmp_path / "run", toy_data) if line["event"] == "train"]
    assert steps[-1]["teacher_loss"] < 0.3 * steps[0]["teacher_loss"]
    assert steps[-1]["loss"] < steps[0]["loss"] - 1, "it has never been shown the text's own words"


def test_without_teachers_metrics_say_nothing_of_them(toy, toy_data, tmp_path):
    lines = train(toy(**SHORT), tmp_path / "run", toy_data)
    assert not any({"teacher_loss", "consistency_loss"} & line.keys() for line in lines)


def test_an_ensemble_teaches_the_mean_of_the_probabilities_at_the_real_tokens(toy, toy_data, teacher, wide, tmp_path):
    recipe = toy(**taught(teacher, wide, temperature=2.0))
    train(recipe, tmp_path / "run", toy_data)
    teachers = load_teachers(recipe, RunFiles(tmp_path / "run"), torch.device("cpu"))
    assert teachers is not None
    batch = batch_of([[5, 6, 7], [8]], [[9], [10, 11, 12]])
    expected_NV = torch.zeros(())
    for network in teachers.networks:
        logits_NV = network(batch).hidden_ND @ network.output_VD.t()
        expected_NV = expected_NV + 0.5 * (logits_NV / 2.0).softmax(1)
    says = teachers.read(batch, torch.float32)
    assert len(expected_NV) == len(real_positions(batch.target_lengths_B, 4)) == 6
    torch.testing.assert_close(says(slice(0, 6)), expected_NV)
    torch.testing.assert_close(says(slice(2, 5)), expected_NV[2:5])


def test_the_mean_of_one_teacher_is_its_own_softmax():
    logits_MV = torch.randn(3, 7)
    torch.testing.assert_close(mean_probabilities([logits_MV], 1.0), logits_MV.softmax(1))


def test_the_manifest_names_the_teachers_and_their_weights(toy, toy_data, teacher, wide, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(toy(**taught(Path("teacher"), Path("wide"))), tmp_path / "run", toy_data)
    records = load_manifest(RunFiles(tmp_path / "run")).teachers
    assert [record.run for record in records] == [str(teacher), str(wide)]
    assert len({record.weights_digest for record in records}) == 2
    monkeypatch.chdir("/")  # the run's own recipe has whole paths
    recipe = toy(**taught(teacher, wide) | {"max_steps": 9})
    train(recipe, tmp_path / "run", toy_data, resume=True)


def test_a_resume_goes_on_with_the_checkpoint_that_was_the_best_then(toy, toy_data, teacher, tmp_path):
    recipe = toy(**taught(teacher, checkpoint="last"))
    train(recipe, tmp_path / "whole", toy_data)
    train(recipe, tmp_path / "parts", toy_data, stop=5)
    longer = toy(**SHORT | {"max_steps": 31, "keep_last": 4})
    run_training(longer, teacher, toy_data, resume=True, reporter=SilentReporter())
    train(recipe, tmp_path / "parts", toy_data, resume=True)
    assert_same_bits(tmp_path / "whole", tmp_path / "parts")


def test_a_teacher_that_has_changed_or_is_gone_is_told_at_a_resume(toy, toy_data, teacher, wide, tmp_path):
    recipe = toy(**taught(teacher, checkpoint="last"))
    train(recipe, tmp_path / "run", toy_data, stop=5)
    newest = find_checkpoint(RunFiles(teacher), "last").path
    shutil.move(newest, tmp_path / "kept")
    shutil.copytree(find_checkpoint(RunFiles(teacher), "last").path, newest)
    with pytest.raises(UserError, match="teacher: its weights have changed since") as changed:
        train(recipe, tmp_path / "run", toy_data, resume=True)
    assert changed.value.fix == "restore the teacher, or begin a new run"
    shutil.rmtree(newest)
    shutil.move(tmp_path / "kept", newest)
    for other, told in (
        (taught(teacher, wide), "1 teachers, the recipe says 2"),
        (SHORT, "1 teachers, the recipe says 0"),
    ):
        with pytest.raises(UserError, match=told):
            train(toy(**other), tmp_path / "run", toy_data, resume=True)
    shutil.rmtree(teacher)
    with pytest.raises(UserError, match=r"no run .*teacher: it does not exist"):
        train(recipe, tmp_path / "run", toy_data, resume=True)


def test_who_cannot_teach_is_told_before_there_is_a_run(toy, toy_data, teacher, tmp_path):
    reversed_languages = {"data": {"source_language": "fr", "target_language": "en"}}
    with pytest.raises(UserError, match="is of en-fr, but the recipe that it is to teach is of fr-en"):
        teacher_records(toy(reversed_languages, **taught(teacher)), tmp_path / "run", toy_data / "subwords.model")
    with pytest.raises(UserError, match="the run itself"):
        teacher_records(toy(**taught(teacher)), teacher, toy_data / "subwords.model")
    path = tmp_path / "subwords.model"
    train_subwords(["one red cat", "un chat rouge"] * 50, Subwords(vocabulary_size=275), path, 1)
    with pytest.raises(UserError, match="has other subwords than") as other:
        teacher_records(toy(**taught(teacher)), tmp_path / "run", path)
    assert f"--subwords-of {teacher}" in str(other.value.fix)
    (find_checkpoint(RunFiles(teacher), "best").path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="damaged"):
        train(toy(**taught(teacher)), tmp_path / "run", toy_data)
    assert not (tmp_path / "run" / "recipe.toml").exists()
