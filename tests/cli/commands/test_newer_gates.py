"""Runs with newer gates and shared experts go through every command that takes a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from mtmoe.checkpoint import load_model
from mtmoe.inference.compiled.compiled_model import can_compile
from tests.cli.conftest import TinyRun, _invoke

BIASED = {
    "model.moe.gate": "sigmoid",
    "model.moe.choice_bias_rate": 0.05,
    "model.moe.importance_loss_weight": 0,
    "model.moe.shared_experts": 2,
    "model.moe.z_loss_weight": 0.01,
    "training.ema.decay": 0.9,
}
CHOICE = {"model.moe.gate": "expert-choice", "model.moe.shared_experts": 1}


class Trained(NamedTuple):
    """A run, how its recipe differs from the tiny one, and whether it is searched with in C++."""

    run: Path
    options: tuple[str, ...]
    is_compiled: bool


@pytest.fixture(scope="module", params=["sigmoid", "expert-choice"])
def trained(request: Any, tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    changes = BIASED if request.param == "sigmoid" else CHOICE
    options = tuple(word for key, value in changes.items() for word in ("--set", f"{key}={json.dumps(value)}"))
    run = tmp_path_factory.mktemp("newer") / "run"
    result = _invoke("train", tiny_run.recipe, run, "--data", tiny_run.data, "--device", "cpu", *options)
    assert result.exit_code == 0, result.stderr
    return Trained(run, options, request.param == "sigmoid")


def _run(*arguments: str | Path, input: str = "") -> str:
    result = _invoke(*arguments, input=input)
    assert result.exit_code == 0, (arguments, result.stderr)
    return result.stdout


LINES = "the man walks today\na red dog sleeps\n"


def test_it_translates_as_the_model_of_torch_does_and_a_package_as_the_run(trained: Trained, tmp_path: Path) -> None:
    assert can_compile(load_model(trained.run).model) == trained.is_compiled
    found = _run("translate", trained.run, "--device", "cpu", input=LINES)
    plain = _run("translate", trained.run, "--device", "cpu", "--set", "decoding.mode=exact", input=LINES)
    assert len(found.splitlines()) == len(plain.splitlines()) == 2
    for precision in ("fp32", "int8"):
        package = tmp_path / f"{precision}.mtmoe"
        _run("package", trained.run, package, "--weights", precision, "--no-bleu")
        translated = _run("translate", package, "--device", "cpu", "--set", "decoding.mode=exact", input=LINES)
        assert len(translated.splitlines()) == 2
        assert precision != "fp32" or translated == plain
    loaded = dict(load_model(tmp_path / "int8.mtmoe").model.named_parameters())
    for name, parameter in load_model(trained.run).model.named_parameters():
        if ".gate." in name:
            assert torch.equal(loaded[name], parameter), name


def test_it_is_scored_explained_reported_described_averaged_and_exported(
    trained: Trained, tiny_run: TinyRun, tmp_path: Path
) -> None:
    sources, targets = (tiny_run.folder / f"test.{language}" for language in ("en", "fr"))
    assert len(_run("score", trained.run, sources, targets).splitlines()) == 8
    explained = json.loads(_run("explain", trained.run, "--json", input="the man walks\n").splitlines()[0])
    chosen = [
        it
        for token in explained["parts"][0]["source_tokens"]
        for experts in token["experts"].values()
        for it in experts
    ]
    assert trained.is_compiled <= bool(chosen)  # above its thresholds a token of expert choice may have none
    page = tmp_path / "report.html"
    _run("report", trained.run, "--output", page)
    shared = 2 if trained.is_compiled else 1
    assert f"4, 2 a token and {shared} shared" in page.read_text(encoding="utf-8")
    described = json.loads(_run("describe", tiny_run.recipe, "--json", *trained.options))
    [layer] = [it for it in described["layers"] if it["name"] == "encoder moe 1"]
    assert f"{shared} shared" in layer["kind"]
    model = load_model(trained.run).model
    assert layer["num_parameters"] == sum(p.numel() for p in model.encoder.moe_layers["1"].parameters())
    _run("average", trained.run, "--last", "2")
    _run("export", trained.run, tmp_path / "weights.safetensors")


def test_its_experts_are_grown_or_refused_with_a_reason(trained: Trained, tmp_path: Path) -> None:
    grown = tmp_path / "grown"
    _run("experts", "grow", trained.run, grown, "--experts", "8", "--experts-per-token", "4", "--noise", "0")
    before, after = (
        _run("translate", run, "--set", "decoding.mode=exact", input=LINES) for run in (trained.run, grown)
    )
    assert before == after
    pruned = _invoke("experts", "prune", trained.run, tmp_path / "pruned", "--keep", "3")
    assert (pruned.exit_code == 0) == trained.is_compiled
    if not trained.is_compiled:
        assert 'gate = "expert-choice" do not go together' in pruned.stderr


def test_another_training_begins_with_it(trained: Trained, tiny_run: TinyRun, tmp_path: Path) -> None:
    arguments = ("train", tiny_run.recipe, tmp_path / "next", "--data", tiny_run.data, "--device", "cpu")
    again = _invoke(*arguments, "--from", trained.run, *trained.options)
    assert again.exit_code == 0, again.stderr
    refused = _invoke(*arguments[:2], tmp_path / "other", *arguments[3:], "--from", trained.run)
    assert refused.exit_code != 0
    assert "model.moe.gate = " in refused.stderr


def test_a_decoder_of_expert_choice_is_refused_where_the_recipe_is_read(tiny_run: TinyRun) -> None:
    refused = _invoke(
        "describe", tiny_run.recipe, "--set", "model.moe.gate=expert-choice", "--set", "model.decoder_moe_after=[1]"
    )
    assert refused.exit_code != 0
    assert 'gate = "expert-choice" is for encoders' in refused.stderr
    assert "Traceback" not in refused.stderr
