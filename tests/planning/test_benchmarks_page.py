"""The predictions in docs/benchmarks/many_gpus.md are what the command that stands there says today."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner
from mtmoe.cli import main

from tests.paths import ROOT

PAGE = (ROOT / "docs" / "benchmarks" / "many_gpus.md").read_text(encoding="utf-8")


TOKENS_OF_A_GPU = {"wmt14-en-fr": 8_000, "lm100b-moe-4096-h": 40_000}


def predicted_row(recipe: str, num_gpus: int, batch_tokens: int) -> str:
    """A row of the page, from what its command writes with --json."""
    batch = (f"training.batch_tokens={batch_tokens}", "training.gradient_accumulation=1")
    options = [word for setting in batch for word in ("--set", setting)]
    arguments = ["plan", recipe, "--gpus", str(num_gpus), "--gpu", "h100", "--efficiency", "1", "--json", *options]
    plan = json.loads(CliRunner().invoke(main, arguments).stdout)
    longest = max(plan["stage_times"], key=lambda part: part["seconds"])
    share = longest["seconds"] / plan["step_seconds"]
    cells = [
        f"`{recipe}`",
        f"{num_gpus:,}",
        f"{batch_tokens:,}",
        f"{plan['peak']['total'] / 1e9:.1f} GB",
        f"{plan['tokens_per_expert']:,.0f}",
        f"{plan['traffic']['all_to_all'] / 1e6:,.0f} MB",
        f"{plan['step_seconds'] * 1e3:,.1f} ms",
        f"{longest['kind']}, {share:.0%} ({longest['bound']})",
        f"{plan['target_tokens_per_second'] / 1e6:.1f} M",
        f"{plan['gpu_hours'] / (plan['budget_tokens'] / 1e9):.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


ROWS = re.findall(r"^\| `([\w-]+)` \| (\d[\d,]*) \| (\d[\d,]*) \| [\d.]+ GB \|", PAGE, re.MULTILINE)


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def test_the_page_has_both_models_on_8_64_and_1024_gpus_with_growing_batches_and_with_one() -> None:
    expected = set()
    for name, of_a_gpu in TOKENS_OF_A_GPU.items():
        expected |= {(name, number, of_a_gpu * number) for number in (8, 64, 1024)}
        expected |= {(name, number, of_a_gpu * 64) for number in (8, 1024)}
    assert {(name, _number(gpus), _number(batch)) for name, gpus, batch in ROWS} == expected
    assert "predictions, not measurements" in " ".join(PAGE.split())


@pytest.mark.parametrize(("recipe", "gpus", "batch"), ROWS)
def test_a_predicted_row_is_what_the_command_says(recipe: str, gpus: str, batch: str) -> None:
    assert predicted_row(recipe, _number(gpus), _number(batch)) in PAGE
