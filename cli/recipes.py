"""``mtmoe recipes``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .console import write_json, write_table
from .options import json_option

if TYPE_CHECKING:
    from mtmoe.config import Recipe


@click.command()
@json_option
def recipes(as_json: bool) -> None:
    """List the recipes that come with mtmoe.

    A recipe is one TOML file: text, subwords, model, training and decoding of one experiment. BLEU is what was
    measured with it; `mtmoe describe RECIPE` tells more.
    """
    from mtmoe.config import load_recipe, shipped_recipes

    summaries = [_summary(load_recipe(name)) for name in shipped_recipes()]
    if as_json:
        write_json(summaries)
        return
    columns = ("recipe", "languages", "text", "parameters", "chosen for", "BLEU")
    write_table(columns, [_row(summary) for summary in summaries])


def _summary(recipe: Recipe) -> dict[str, Any]:
    from mtmoe.model.description import describe_model

    data = recipe.data
    return {
        "name": recipe.name,
        "description": recipe.about.description,
        "source_language": data.source_language,
        "target_language": data.target_language,
        "train": [source.name for source in data.train],
        "num_parameters": describe_model(recipe.model, recipe.subwords.vocabulary_size).num_parameters,
        "hardware": recipe.about.hardware,
        "results": [result.model_dump() for result in recipe.about.results],
    }


def _row(summary: dict[str, Any]) -> list[str]:
    results = [f"{result['bleu']:.1f} ({result['test_set']})" for result in summary["results"]]
    return [
        summary["name"],
        f"{summary['source_language']}-{summary['target_language']}",
        ", ".join(summary["train"]),
        f"{summary['num_parameters'] / 1e6:.1f} M",
        summary["hardware"],
        ", ".join(results) or "not measured",
    ]
