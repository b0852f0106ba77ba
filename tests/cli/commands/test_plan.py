"""`mtmoe plan`, as a user starts it."""

from __future__ import annotations

import json

import pytest


def test_a_plan_that_fits_is_a_table_and_the_exit_status_0(invoke) -> None:
    result = invoke("plan", "wmt14-en-de-32", "--gpus", "8", "--gpu", "h100")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("wmt14-en-de-32 on 8 x h100 (bf16): a prediction, not a measurement")
    for row in ("weights", "moments of the optimizers", "peak", "lstm", "experts", "all-to-all of tokens", "step",
                "tokens per expert", "target tokens/s", "whole training"):  # fmt: skip
        assert f"\n{row}  " in result.stdout, row
    assert "a training step fits" in result.stdout


def test_a_plan_that_does_not_fit_says_what_is_too_little_and_what_to_change(invoke) -> None:
    result = invoke("plan", "wmt14-en-fr", "--gpus", "2", "--gpu", "h100")
    assert result.exit_code == 1
    assert "a training step does not fit" in result.stdout
    assert "error: wmt14-en-fr does not fit on 2 x h100: GPU memory in a training step: " in result.stderr
    assert "too much (backward pass of " in result.stderr
    assert "\n--set training." in result.stderr


def test_memory_that_is_all_reserved_is_an_error(invoke) -> None:
    result = invoke("plan", "wmt14-en-fr", "--gpus", "64", "--gpu", "k40", "--reserved", "300")
    assert result.exit_code == 1
    assert "--reserved 300: leaves nothing of the 12.1 GB of a k40" in result.stderr


def test_json_has_the_whole_plan(invoke) -> None:
    result = invoke("plan", "wmt14-en-de-32", "--gpus", "8", "--gpu", "h100", "--json")
    plan = json.loads(result.stdout)
    peak = plan["peak"]
    parts = ("weights", "moments", "averaged", "gradients", "activations", "passing")
    assert sum(peak[part] for part in parts) == pytest.approx(peak["total"])
    assert sum(part["seconds"] for part in plan["stage_times"]) == pytest.approx(plan["step_seconds"])
    assert plan["fits"] is True
    assert plan["gpu"]["sources"]


def test_the_efficiency_is_what_was_measured_unless_one_is_given(invoke) -> None:
    arguments = ("plan", "multi30k-en-de", "--gpus", "1", "--gpu", "h100")
    measured, floor = (json.loads(invoke(*arguments, *extra, "--json").stdout) for extra in ((), ("--efficiency", "1")))
    assert measured["efficiency"] < 0.01
    assert "measured on one H100 80GB, 2026-11-26" in measured["efficiency_basis"]
    assert (floor["efficiency"], floor["efficiency_basis"]) == (1, "given")
    assert measured["days"] * measured["efficiency"] == pytest.approx(floor["days"])
    assert "measured on one H100 80GB" in invoke(*arguments).stdout


@pytest.mark.parametrize(
    ("option", "value", "key"),
    [
        ("--gpu-memory", "1000", "largest_batch_tokens"),
        ("--peak", "1", "days"),
        ("--memory-bandwidth", "1", "days"),
        ("--node-bandwidth", "0.001", "days"),
        ("--network-bandwidth", "0.001", "days"),
        ("--gpus-per-node", "2", "days"),
        ("--node-memory", "1", "fits"),
        ("--reserved", "70", "largest_batch_tokens"),
        ("--efficiency", "0.5", "days"),
        ("--set", "training.precision=fp32", "days"),
    ],
)
def test_every_option_changes_the_plan(invoke, option: str, value: str, key: str) -> None:
    arguments = ("plan", "wmt14-en-fr-512", "--gpus", "16", "--gpu", "h100", "--json")
    before, after = (json.loads(invoke(*arguments, *extra).stdout)[key] for extra in ((), (option, value)))
    assert before != after


def test_an_unknown_gpu_is_answered_with_the_table(invoke) -> None:
    result = invoke("plan", "demo", "--gpus", "1", "--gpu", "gtx-970")
    assert result.exit_code == 1
    assert "--gpu gtx-970: not in the table, which has h200, h100" in result.stderr
    assert "Traceback" not in result.stderr


def test_bench_memory_tells_what_was_measured_and_what_was_planned(invoke, tiny_recipe) -> None:
    result = invoke("bench", "memory", tiny_recipe, "--rows", "4", "--length", "5", "--device", "cpu", "--json")
    assert result.exit_code == 0, result.stderr
    measured = json.loads(result.stdout)
    assert measured["measured_bytes"] > 0
    assert measured["ratio"] == pytest.approx(measured["planned_bytes"] / measured["measured_bytes"], rel=1e-3)
