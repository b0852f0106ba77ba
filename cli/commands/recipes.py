"""``mtmoe recipes``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..console import write_json, write_table, write_text
from ..options import json_option

if TYPE_CHECKING:
    from mtmoe.config import Recipe


@click.command()
@click.option("--markdown", is_flag=True, help="Write the table of docs/reference/recipes.md.")
@json_option
def recipes(markdown: bool, as_json: bool) -> None:
    """List the recipes that come with mtmoe.

    A recipe is one TOML file: text, subwords, model, training and decoding of one experiment. The result is what was
    measured with it: BLEU, or of a language model the perplexity per token (PPL). Operations are the paper's, per
    timestep: of a translation model with the output layer, of a language model without. `mtmoe describe RECIPE` tells
    more.
    """
    from mtmoe.config import load_recipe, shipped_recipes

    summaries = [_summary(load_recipe(name)) for name in shipped_recipes()]
    if as_json:
        write_json(summaries)
        return
    if markdown:
        write_text(markdown_table(summaries))
        return
    columns = ("recipe", "languages", "text", "parameters", "operations", "chosen for", "result")
    write_table(columns, [_row(summary) for summary in summaries])


def _summary(recipe: Recipe) -> dict[str, Any]:
    from mtmoe.model.description import describe_recipe

    data, model = recipe.data, describe_recipe(recipe)
    return {
        "name": recipe.name,
        "task": recipe.task,
        "description": recipe.about.description,
        "source_language": data.source_language,
        "target_language": data.target_language,
        "train": [source.name for source in data.train],
        "num_parameters": model.num_parameters,
        "operations": (
            model.operations_without_output if recipe.task == "language-model" else model.operations_in_translation
        ),
        "hardware": recipe.about.hardware,
        "results": [result.model_dump() for result in recipe.about.results],
    }


def _row(summary: dict[str, Any]) -> list[str]:
    results = [f"{_number(result)} ({result['test_set']})" for result in summary["results"]]
    return [
        summary["name"],
        "-".join(filter(None, (summary["source_language"], summary["target_language"]))),
        ", ".join(summary["train"]),
        millions(summary["num_parameters"]),
        millions(summary["operations"]),
        summary["hardware"],
        ", ".join(results) or "not measured",
    ]


def _number(result: dict[str, Any]) -> str:
    return f"PPL {result['perplexity']:.2f}" if result["bleu"] is None else f"BLEU {result['bleu']:.1f}"


def markdown_table(summaries: list[dict[str, Any]]) -> str:
    """Name, description, parameters and operations of each recipe."""
    lines = ["| recipe | what it is | parameters | operations |", "|---|---|---|---|"]
    for summary in summaries:
        sizes = f"{millions(summary['num_parameters'])} | {millions(summary['operations'])}"
        lines.append(f"| `{summary['name']}` | {summary['description']} | {sizes} |")
    return "\n".join(lines) + "\n"


def millions(number: int) -> str:
    """``7.6 M``, or ``8.66 B`` where that is shorter."""
    return f"{number / 1e9:.2f} B" if number >= 1e9 else f"{number / 1e6:.1f} M"
