"""A run that starts from another: its weights, its manifest, and that it can go on without the other."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mtmoe.checkpoint import (
    RunFiles,
    find_checkpoint,
    find_checkpoints,
    last_checkpoint,
    list_steps,
    load_manifest,
    load_training,
    mean_weights,
    read_weights,
)
from mtmoe.config.settings import Subwords
from mtmoe.data.prepared.preparation import prepare
from mtmoe.data.subwords.sentencepiece_model import train_subwords
from mtmoe.errors import UserError
from mtmoe.training.reporting import SilentReporter
from mtmoe.training.start.starting_weights import begin_from
from mtmoe.training.trainer import run_training
from tests.toy import counting_recipe

SHORT: dict[str, Any] = {"precision": "fp32", "validation": {"every_steps": 4, "translate_sentences": 4}}
VALIDATION_OF_TEXT = {"every_steps": 4, "metric": "perplexity", "translate_sentences": 0}
AVERAGED = {"ema": {"decay": 0.8, "every_steps": 1}}


@pytest.fixture
def base(toy, train, tmp_path) -> Path:
    """A run of eight steps whose weights are an average."""
    train(toy(max_steps=8, **SHORT, **AVERAGED), tmp_path / "base")
    return tmp_path / "base"


def assert_same_bits(one: Path, other: Path) -> None:
    (first, second) = (last_checkpoint(RunFiles(run)) for run in (one, other))
    assert first is not None
    assert second is not None
    for these, those in zip(load_training(first.path)[:2], load_training(second.path)[:2], strict=True):
        assert these.keys() == those.keys()
        for name in these:
            assert torch.equal(these[name], those[name]), name


def test_step_zero_has_the_weights_of_the_start_and_its_quality(toy, train, base, tmp_path):
    before = train(toy(max_steps=8, **SHORT, **AVERAGED), tmp_path / "again").losses
    told = train(toy(max_steps=2, start={"run": str(base), "checkpoint": "last"}, **SHORT), tmp_path / "run")
    weights, expected = (read_weights(find_checkpoint(RunFiles(run), name).path) for run, name in (
        (tmp_path / "run", "0"), (base, "last"),
    ))  # fmt: skip
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)
    assert told.losses[0] == before[8]
    record = load_manifest(RunFiles(tmp_path / "run")).start
    assert told.starts == [record]
    assert record is not None
    assert (record.run, record.checkpoints) == (str(base), ("step-00000008",))
    assert record.taken_over == (
        "encoder, attention and decoder, with all their weights",
        "embeddings of all 300 subwords",
    )
    assert load_manifest(RunFiles(base)).start is None


def test_the_weights_may_be_a_mean(toy, train, base, tmp_path):
    train(toy(max_steps=1, start={"run": str(base), "checkpoint": "last:2"}, **SHORT), tmp_path / "run")
    weights = read_weights(find_checkpoint(RunFiles(tmp_path / "run"), "0").path)
    expected = mean_weights(find_checkpoints(RunFiles(base), "last:2"))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "more", [{}, AVERAGED | {"expert_optimizer": "factored-adam", "expert_weights": "bf16"}], ids=["plain", "averaged"]
)
@pytest.mark.parametrize("stopped_after", [0, 3])
def test_a_resume_needs_no_start_run_and_has_the_bits_of_a_run_that_never_stopped(
    toy, toy_data, train, base, tmp_path, more, stopped_after
):
    settings = SHORT | more | {"start": {"run": str(base), "frozen": ["attention"]}}
    train(toy(max_steps=6, **settings), tmp_path / "whole")

    class Crash(SilentReporter):
        def advanced(self, step: int) -> None:
            if step > stopped_after:
                raise KeyboardInterrupt

    every = settings | {"save_every_steps": max(stopped_after, 1)}
    with pytest.raises(KeyboardInterrupt):
        run_training(toy(max_steps=6, **every), tmp_path / "parts", toy_data, resume=False, reporter=Crash())
    assert list_steps(RunFiles(tmp_path / "parts"))[-1].step == stopped_after
    shutil.rmtree(base)
    train(toy(max_steps=6, **settings), tmp_path / "parts", resume=True)
    assert_same_bits(tmp_path / "whole", tmp_path / "parts")


def test_a_language_model_starts_from_one_as_it_was(tmp_path):
    """On running text, with a vocabulary of words; its state of the text begins anew."""
    settings: dict[str, Any] = {"precision": "fp32", "max_steps": 4, "validation": VALIDATION_OF_TEXT}
    recipe = counting_recipe(tmp_path, **settings)
    prepare(recipe, tmp_path / "data", tmp_path / "cache")
    losses: dict[str, dict[int, float]] = {"base": {}, "run": {}}
    for name, start in (("base", None), ("run", {"run": str(tmp_path / "base"), "frozen": ["decoder.lstm1"]})):
        started = counting_recipe(tmp_path, **settings, start=start)
        reporter = SilentReporter()
        reporter.validated = lambda m, told=losses[name]: told.update({m.step: m.quality.loss})  # type: ignore[method-assign]
        run_training(started, tmp_path / name, tmp_path / "data", resume=False, reporter=reporter)
    assert losses["run"][0] == losses["base"][4]
    assert losses["run"][4] < losses["run"][0]
    record = load_manifest(RunFiles(tmp_path / "run")).start
    assert record is not None
    assert record.taken_over[0] == "decoder, with all their weights"


def test_before_the_first_checkpoint_a_start_that_is_gone_or_changed_is_told(toy, train, base, tmp_path):
    recipe = toy(max_steps=2, start={"run": str(base), "checkpoint": "last"}, **SHORT)
    train(recipe, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    (tmp_path / "run" / "checkpoints").mkdir()
    train(recipe, tmp_path / "run", resume=True)  # the start is there: it begins as it did
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    (tmp_path / "run" / "checkpoints").mkdir()
    newest = find_checkpoint(RunFiles(base), "last").path
    shutil.rmtree(newest)
    shutil.copytree(find_checkpoint(RunFiles(base), "last").path, newest)
    with pytest.raises(UserError, match="its weights have changed since") as changed:
        train(recipe, tmp_path / "run", resume=True)
    assert changed.value.fix == "begin a new run"
    shutil.rmtree(base)
    with pytest.raises(UserError, match=r"its start run cannot be read: no run .*base: it does not exist"):
        train(recipe, tmp_path / "run", resume=True)


def test_a_start_with_damaged_weights_leaves_no_run_behind(toy, train, base, tmp_path):
    (find_checkpoint(RunFiles(base), "last").path / "model.safetensors").write_bytes(b"no tensors")
    recipe = toy(max_steps=2, start={"run": str(base), "checkpoint": "last"}, **SHORT)
    with pytest.raises(UserError, match=r"base/checkpoints/step-00000008/model.safetensors: damaged"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "recipe.toml").exists()


def test_what_a_run_began_with_cannot_be_changed_by_a_resume(toy, train, base, tmp_path):
    train(toy(max_steps=1, start={"run": str(base)}, **SHORT), tmp_path / "run")
    for start, told in (({"run": str(base), "frozen": ["gates"]}, "training.start.frozen"), (None, "training.start.")):
        with pytest.raises(UserError, match=f"was begun with {told}"):
            train(toy(max_steps=2, start=start, **SHORT), tmp_path / "run", resume=True)


def test_a_text_of_another_vocabulary_is_refused_where_the_same_is_meant(toy, train, base, tmp_path):
    path = tmp_path / "subwords.model"
    path.write_bytes((base / "subwords.model").read_bytes())
    recipe = toy(max_steps=1, start={"run": str(base)}, **SHORT)
    assert begin_from(recipe, tmp_path / "run", path) is not None
    train_subwords(["one red cat", "un chat rouge"] * 50, Subwords(vocabulary_size=275), path, 1)
    with pytest.raises(UserError, match=r"is another vocabulary than .*base/subwords.model"):
        begin_from(recipe, tmp_path / "run", path)
