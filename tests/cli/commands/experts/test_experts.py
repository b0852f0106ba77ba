"""`mtmoe experts`: a run becomes another, whole run, measured before and after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mtmoe.checkpoint import load_manifest, load_model, load_run_recipe, mean_weights, open_run, weights_digest
from mtmoe.checkpoint.reading import find_checkpoints
from mtmoe.data.prepared.data_directory import open_prepared
from mtmoe.inference.scoring.forced_decoding import perplexity, score_pairs
from tests.cli.conftest import Invoke, TinyRun

SENTENCE = "the dog sees a cat\n"


def _done(invoke: Invoke, *arguments: object) -> dict[str, Any]:
    result = invoke("experts", *map(str, arguments), "--device", "cpu", "--json")
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_pruned_run_is_a_run_like_any_other(tiny_run: TinyRun, invoke: Invoke, tmp_path: Path) -> None:
    new = tmp_path / "new"
    told = _done(invoke, "prune", tiny_run.run, new, "--keep-share", 0.5)
    assert told["num_experts"] == [4, 2]
    assert told["num_parameters"][0] > told["num_parameters"][1]
    recipes = [load_run_recipe(open_run(run)).model_dump() for run in (tiny_run.run, new)]
    assert recipes[1]["model"]["moe"].pop("num_experts") == 2
    assert recipes[0]["model"]["moe"].pop("num_experts") == 4
    assert recipes[0] == recipes[1]
    surgery = load_manifest(open_run(new)).surgery
    assert surgery is not None
    chosen = find_checkpoints(open_run(tiny_run.run), "best")
    assert (surgery.operation, surgery.run) == ("prune", str(tiny_run.run))
    assert surgery.checkpoints == tuple(checkpoint.name for checkpoint in chosen)
    assert surgery.weights_digest == weights_digest(mean_weights(chosen))
    assert told["why"] == surgery.why
    assert json.loads(json.dumps(surgery.layers)) == told["layers"]
    kept = [old for [old] in told["layers"]["encoder.moe1"]]
    old, pruned = (load_model(run).model.state_dict() for run in (tiny_run.run, new))
    for name in ("encoder.moe_layers.1.experts.first_EDH", "encoder.moe_layers.1.experts.second_EHD"):
        assert pruned[name].tolist() == old[name][kept].tolist()

    assert invoke("translate", new, input=SENTENCE).stdout.strip()
    assert invoke("bleu", new, "--json").exit_code == 0
    resumed = invoke("train", new / "recipe.toml", new, "--resume", "--device", "cpu")
    assert resumed.exit_code == 1
    assert "has weights alone" in resumed.stderr
    trained = invoke(
        "train", new / "recipe.toml", tmp_path / "trained", "--from", new, "--device", "cpu", "--workers", 1
    )
    assert trained.exit_code == 0, trained.stderr
    assert invoke("translate", tmp_path / "trained", input=SENTENCE).exit_code == 0


def test_before_and_after_are_what_scoring_and_bleu_find(tiny_run: TinyRun, invoke: Invoke, tmp_path: Path) -> None:
    new = tmp_path / "new"
    told = _done(invoke, "grow", tiny_run.run, new, "--experts", 8, "--experts-per-token", 4, "--noise", 0)
    [measured] = told["dev_sets"].values()
    prepared = open_prepared(tiny_run.data)
    for run, when in ((tiny_run.run, "before"), (new, "after")):
        scores = score_pairs(load_model(run), prepared.valid_source, prepared.valid_target)
        assert measured[when]["perplexity"] == pytest.approx(perplexity(scores), rel=1e-4)
    assert measured["after"]["perplexity"] == pytest.approx(measured["before"]["perplexity"], rel=1e-4)
    assert measured["after"]["bleu"] == measured["before"]["bleu"]
    translations = [invoke("translate", run, input=SENTENCE).stdout for run in (tiny_run.run, new)]
    assert translations[0] == translations[1]


def test_a_table_tells_of_merging(tiny_run: TinyRun, invoke: Invoke, tmp_path: Path) -> None:
    result = invoke(
        "experts", "merge", tiny_run.run, tmp_path / "new", "--keep", 3, "--sentences", 0, "--device", "cpu"
    )
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0].split() == ["before", "after"]
    assert result.stdout.splitlines()[1].split() == ["experts", "of", "each", "layer", "4", "3"]
    assert "perplexity" in result.stdout
    assert "BLEU" not in result.stdout
    assert f"{tmp_path / 'new'}: 4 experts of each layer merged into 3" in result.stderr
    assert f"--from {tmp_path / 'new'}" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["prune", "{run}", "new"], 2, "give either --keep N or --keep-share SHARE"),
        (["merge", "{run}", "new", "--keep", "2", "--keep-share", "0.5"], 2, "give either --keep N"),
        (["prune", "{run}", "new", "--keep", "4"], 1, "the layers have 4 experts, so nothing would change"),
        (["prune", "{run}", "{run}", "--keep", "2"], 1, "is there already"),
        (["prune", "no-run", "new", "--keep", "2"], 1, "no run no-run: it does not exist"),
        (["prune", "{run}", "new", "--keep", "2", "--language", "de"], 1, "there are: en-fr, fr"),
        (["grow", "{run}", "new", "--experts", "6"], 1, "each of 4 experts is copied equally often"),
    ],
)
def test_what_cannot_be_done_is_told_and_nothing_is_written(
    tiny_run: TinyRun,
    invoke: Invoke,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [word.replace("{run}", str(tiny_run.run)) for word in arguments]
    result = invoke("experts", *words)
    assert (result.exit_code, told in result.stderr) == (status, True), result.stderr
    assert not list(tmp_path.iterdir())
