"""The command line, as a user starts it with torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from mtmoe.checkpoint import RunFiles, list_checkpoints, load_model
from mtmoe.config import recipe_to_toml
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.training.metrics.training_flops import training_operations
from tests.distributed.processes.commands import invoke_in_group
from tests.paths import ROOT
from tests.toy import prepared_toy


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "mtmoe"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=300, env=environment, check=False
    )


def test_torchrun_trains_and_measures_and_only_one_process_talks(tmp_path):
    recipe, data = prepared_toy(tmp_path, max_steps=2, precision="fp32", log_every_steps=1)
    (tmp_path / "toy.toml").write_text(recipe_to_toml(recipe), encoding="utf-8")
    run = tmp_path / "run"
    arguments = ("train", str(tmp_path / "toy.toml"), str(run), "--device", "cpu")

    for unprepared in invoke_in_group(2, *arguments):
        assert unprepared.status == 1
        assert "2 processes (WORLD_SIZE) and no --data" in unprepared.talk

    trained = torchrun(*arguments, "--data", str(data), "--report")
    assert trained.returncode == 0, trained.stderr
    assert trained.stderr.count("report.html: the page of the run") == 1
    assert "<td>2 of 2</td>" in (run / "report.html").read_text()
    assert trained.stderr.count("finished at step 2") == 1
    assert trained.stdout == ""
    assert [checkpoint.step for checkpoint in list_checkpoints(RunFiles(run))] == [2]

    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    logged = next(line for line in lines if line["event"] == "train")
    operations = training_operations(recipe, len(SubwordModel(RunFiles(run).subwords).pieces))
    target_rate = logged["target_tokens_per_second"]
    flops = operations.flops(logged["source_and_target_tokens_per_second"] - target_rate, target_rate)
    assert logged["tflops_per_device"] == pytest.approx(flops / 2 / 1e12)

    bench = ("bench", "train", arguments[1], "--data", str(data), "--device", "cpu", "--seconds", "1", "--json")
    first, other = invoke_in_group(2, *bench)
    assert (first.status, *other) == (0, 0, "", ""), first.talk + other.talk
    measured = json.loads(first.output)
    assert (measured["num_processes"], measured["expert_processes"]) == (2, 2)
    assert measured["target_tokens_per_second"] > 0
    whole = sum(p.numel() for p in load_model(run, "last").model.parameters())
    assert measured["num_parameters"] == whole  # not those of one process's experts
