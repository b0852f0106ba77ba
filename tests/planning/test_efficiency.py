"""The share of the floor's speed that a plan counts with is what was measured."""

from __future__ import annotations

import pytest

from mtmoe.config.recipe_reading import load_recipe
from mtmoe.planning.devices import GPUS
from mtmoe.planning.efficiency import MEASURED, measured_efficiency
from mtmoe.planning.plan import Cluster, make_plan
from tests.paths import ROOT

GNMT = [
    "subwords.vocabulary_size=32000", "model.encoder_layers=4", "model.decoder_layers=4", "training.batch_tokens=8000",
    "training.gradient_accumulation=1", "training.precision=bf16",
]  # fmt: skip
AS_IT_WAS = ["model.moe.num_experts=16", "model.moe.experts_per_token=4", "model.moe.expert_hidden=256"]


@pytest.mark.parametrize(
    ("place", "recipe", "overrides", "seconds", "row"),
    [
        (0, "multi30k-en-de", AS_IT_WAS, 39.9e-3, "| `multi30k-en-de`, 1,000 tokens a batch | 39.9 | ms a step |"),
        (
            1,
            "small-lm-moe-256",
            ["training.batch_tokens=20000"],
            22.1e-3,
            "| `small-lm-moe-256`, 20,000 subwords a batch | 22.1 | ms a step |",
        ),
        (2, "wmt14-en-de-gnmt", GNMT, 8000 / 96_700, "batches of 8,000 target tokens | 96,700 - 108,700 |"),
    ],
)
def test_each_measurement_is_the_floor_by_the_time_of_the_benchmark(place, recipe, overrides, seconds, row) -> None:
    assert row in (ROOT / "docs" / "benchmarks" / "gpu.md").read_text(encoding="utf-8")
    floor = make_plan(load_recipe(recipe, overrides), Cluster(GPUS["h100"], 1, efficiency=1.0)).step_seconds
    assert floor == pytest.approx(MEASURED[place].floor_seconds, rel=0.05)
    assert floor / seconds == pytest.approx(MEASURED[place].share, rel=0.05)


def test_between_measurements_it_grows_and_outside_it_is_the_nearest() -> None:
    floors = [1e-6, 0.25e-3, 0.4e-3, 0.55e-3, 2e-3, 10.8e-3, 1.0]
    shares = [measured_efficiency(seconds, "h100", 1).share for seconds in floors]
    assert shares == sorted(shares)
    assert shares[:2] == pytest.approx([MEASURED[0].share] * 2)
    assert shares[3] == pytest.approx(MEASURED[1].share)
    assert shares[-2:] == pytest.approx([MEASURED[2].share] * 2)
    assert MEASURED[1].share < shares[4] < MEASURED[2].share


def test_the_basis_says_what_was_measured_and_what_was_not() -> None:
    basis = measured_efficiency(2e-3, "a100", 8).basis
    for part in ("between 5.5 M", "and 178 M", "one H100 80GB, 2026-11-26, c2732ad", "gpu.md", "not on a100",
                 "not on several GPUs"):  # fmt: skip
        assert part in basis
    assert "not on" not in measured_efficiency(1.0, "h100", 1).basis


def test_a_plan_takes_it_where_no_other_is_given_by_the_time_of_a_batch() -> None:
    recipe = load_recipe("multi30k-en-de", ["training.gradient_accumulation=4"])
    floor = make_plan(recipe, Cluster(GPUS["h100"], 1, efficiency=1.0))
    plan = make_plan(recipe, Cluster(GPUS["h100"], 1, efficiency=None))
    share = measured_efficiency(floor.step_seconds / 4, "h100", 1).share
    assert plan.efficiency.share == pytest.approx(share)
    assert plan.step_seconds == pytest.approx(floor.step_seconds / share)
    assert sum(part.seconds for part in plan.stage_times) == pytest.approx(plan.step_seconds)
