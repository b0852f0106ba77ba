"""``mtmoe bench translate`` on the tiny run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def test_each_value_is_measured_with_the_bleu_that_the_run_has(invoke: Any, tiny_run: Any) -> None:
    arguments = ("--vary", "decoding.beam_size=1,2", "--set", "decoding.length_alpha=0.5", "--checkpoint", "last")
    options = ("--rounds", 1, "--single", 2, "--threads", 1, "--device", "cpu", "--json")
    result = invoke("bench", "translate", tiny_run.run, *arguments, *options)
    assert result.exit_code == 0, result.stderr
    measured = json.loads(result.stdout)
    assert (measured["num_threads"], measured["num_sentences"], measured["rounds"]) == (1, 8, 1)
    assert "cores" in measured["hardware"]
    assert measured["settings"] == "decoding.length_alpha=0.5"
    assert [case["settings"] for case in measured["cases"]] == [["decoding.beam_size=1"], ["decoding.beam_size=2"]]
    for case, beam in zip(measured["cases"], (1, 2), strict=True):
        settings = ("--set", f"decoding.beam_size={beam}", *arguments[2:])
        [of_run] = json.loads(invoke("bleu", tiny_run.run, *settings, "--device", "cpu", "--json").stdout)
        assert (case["bleu"], case["bleu_signature"]) == (of_run["bleu"], of_run["bleu_signature"])
        assert case["sentences_per_second"] > 0
        assert case["target_tokens_per_second"] > case["sentences_per_second"]
        assert 0 < case["latency_p50_ms"] <= case["latency_p95_ms"]
        assert case["peak_bytes"] > 2**26


def test_the_table_has_a_row_for_each_case_and_no_bleu_without_a_reference(
    invoke: Any, tiny_run: Any, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("the dog sleeps\n\nthe cat runs\n")
    options = ("--source", tmp_path / "text", "--rounds", 1, "--single", 1, "--device", "cpu")
    result = invoke("bench", "translate", tiny_run.run, *options)
    assert result.exit_code == 0, result.stderr
    facts, table = result.stdout.split("\n\n")
    assert "num sentences  2" in facts
    header, row = table.splitlines()
    assert header.split("  ")[0] == "settings"
    assert header.endswith("BLEU")
    assert row.startswith("as the run says")


def test_several_workers_are_measured_too(invoke: Any, tiny_run: Any) -> None:
    options = ("--rounds", 1, "--single", 2, "--device", "cpu", "--json")
    [alone, together] = (
        json.loads(invoke("bench", "translate", tiny_run.run, *options, *workers).stdout)
        for workers in ((), ("--workers", 2))
    )
    assert (alone["num_workers"], together["num_workers"], together["devices"]) == (1, 2, "cpu")
    [one], [two] = alone["cases"], together["cases"]
    assert two["bleu"] == one["bleu"]
    assert two["target_tokens_per_second"] / two["sentences_per_second"] == pytest.approx(
        one["target_tokens_per_second"] / one["sentences_per_second"]
    )
    assert len(two["settings"]) == 0
    assert 0 < two["latency_p50_ms"] <= two["latency_p95_ms"]
    assert two["peak_bytes"] is None
    assert one["peak_bytes"] > 2**26


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--workers", 2, "--threads", 1), "--threads is of one process: --workers share the cores"),
        (("--device", "cpu,cpu"), "--device names 2 devices, but --workers is 1"),
        (
            ("--vary", "decoding.beam_size=1", "--vary", "decoding.beam_size=5"),
            "--vary has decoding.beam_size twice: give all its values at once, decoding.beam_size=VALUE,VALUE,...",
        ),
    ],
)
def test_options_that_make_no_sense_are_told(invoke: Any, tiny_run: Any, arguments: Any, complaint: str) -> None:
    result = invoke("bench", "translate", tiny_run.run, *arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr


@pytest.mark.parametrize("text", ["decoding.beam_size", "decoding.beam_size=1,,5", "training.max_steps=1"])
def test_what_is_no_list_of_decoding_settings_is_told(invoke: Any, tiny_run: Any, text: str) -> None:
    result = invoke("bench", "translate", tiny_run.run, "--vary", text)
    assert result.exit_code == 2
    assert f"{text!r} is not of the form decoding.KEY=VALUE,VALUE, such as decoding.beam_size=1,5" in result.stderr


def test_commas_inside_of_brackets_divide_no_values() -> None:
    from mtmoe.cli.commands.bench.bench_translate import key_and_values

    assert key_and_values("decoding.a=false,{b = 1, c = [2, 3]},4") == (
        "decoding.a",
        ("false", "{b = 1, c = [2, 3]}", "4"),
    )


def test_a_reference_without_its_source_and_a_mistake_in_a_setting_are_told(invoke: Any, tiny_run: Any) -> None:
    result = invoke("bench", "translate", tiny_run.run, "--reference", tiny_run.folder / "test.fr")
    assert result.exit_code == 2
    assert "--reference is the translation of --source: give both, or none" in result.stderr
    result = invoke("bench", "translate", tiny_run.run, "--vary", "decoding.beam=1,2", "--device", "cpu")
    assert result.exit_code == 1
    assert "unknown setting decoding.beam = 1" in result.stderr
