"""The paper's page: its tables, formulas and defaults are those of the recipes, the code and the settings."""

from __future__ import annotations

import re

import pytest

from mtmoe.config import load_recipe, shipped_recipes
from mtmoe.config.settings import Decoding, MixtureOfExpertsSettings, Training
from mtmoe.model.description import describe_recipe
from tests.model.test_paper import TABLE_7, TABLE_8
from tests.paths import ROOT

PAGE = (ROOT / "docs/explanation/paper.md").read_text(encoding="utf-8")


def rows_of_table(number: int) -> list[dict[str, str]]:
    """Return the rows of a table of the page, each by the heads of its columns."""
    text = PAGE.split(f"(table-{number})=\n")[1]
    block = re.search(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert block is not None
    heads, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in block[0].splitlines())
    assert all(len(row) == len(heads) for row in rows)
    return [dict(zip(heads, row, strict=True)) for row in rows]


@pytest.mark.parametrize("number", range(1, 9))
def test_every_recipe_of_a_table_is_shipped(number: int) -> None:
    for row in rows_of_table(number):
        for name in re.findall(r"`([\w-]+)`", " ".join(row.values())):
            assert name in shipped_recipes()


@pytest.mark.parametrize(("number", "expected"), [(7, TABLE_7), (8, TABLE_8)])
def test_the_counts_of_tables_7_and_8_are_those_that_the_recipes_are_tested_with(
    number: int, expected: list[tuple[str, ...]]
) -> None:
    keys = ("recipe", "operations, M", "inner parameters, M", "all, B")
    rows = [tuple(row[key].strip("`").replace(",", "") for key in keys) for row in rows_of_table(number)]
    assert {row for row in rows if row[0]} == {row[:4] for row in expected}
    for row, (name, *_, dropout) in ((row, row_7) for row in rows_of_table(7) for row_7 in TABLE_7):
        if row["recipe"] == f"`{name}`":
            assert float(row["dropout"]) == dropout


def test_the_differences_of_table_5_are_differences() -> None:
    rows = [row for row in rows_of_table(5) if re.fullmatch(r"[A-Z]\w+-[A-Z]\w+", row[""])]
    assert len(rows) == 12
    for row in rows:
        _, _, of_all, mixture, difference = (row[key] for key in row)
        assert f"{float(mixture) - float(of_all):+.2f}" == difference


@pytest.mark.parametrize("name", [row[0] for row in (*TABLE_7, *TABLE_8) if "moe" in row[0]])
def test_the_page_counts_language_models_as_they_are(name: str) -> None:
    """`docs/explanation/paper.md#counting`."""
    settings = load_recipe(name).model
    moe, d = settings.moe, settings.width
    units = settings.lstm_hidden or d
    lstms = 2 * (4 * units * (d + d) + units * d if units != d else 4 * units * (d + units))
    if moe.kind == "dense":
        return
    n, expert = moe.num_experts, 2 * d * moe.expert_hidden
    k1, a = (moe.hierarchy.groups_per_token, moe.hierarchy.groups) if moe.hierarchy else (1, 0)
    k2, b = moe.top_k_in_group, moe.experts_per_group
    model = describe_recipe(load_recipe(name))
    assert model.num_inner_weights == lstms + n * expert + 2 * d * a + 2 * d * n
    assert model.operations_without_output == lstms + k1 * k2 * expert + 2 * d * a + 2 * d * k1 * b


def test_the_defaults_that_the_page_names_are_the_defaults() -> None:
    moe, decoding, training = MixtureOfExpertsSettings(), Decoding(), Training(max_steps=1)
    for named in (
        f"by default {moe.noise_floor}, is added",
        f"by default {moe.threshold_loss_weight:g}, and the loss is a mean",
        f"Two prunings use one margin of {decoding.prune_margin}",
        rf"rate {training.learning_rate}, $\beta_1 = {training.adam_beta1}$, $\beta_2 = {training.adam_beta2}$",
        f"clipped to the norm {training.clip_norm:g}",
        f"label smoothing {training.label_smoothing}",
    ):
        assert named in " ".join(PAGE.split())
    assert decoding.length_alpha == decoding.coverage_beta == 0.2
    assert r"$\alpha = \beta = 0.2$" in PAGE
    assert training.adam_epsilon == 1e-9
    assert r"$\epsilon = 10^{-9}$" in PAGE
