"""``mtmoe recipes``: the list of shipped recipes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ..console import folded, heading, output_columns, write_data, write_json, write_text
from ..options import json_option

if TYPE_CHECKING:
    from mtmoe.config import Recipe
    from mtmoe.config.settings import Model

_INDENT = 4
_LEAST_CELL = 12  # columns; what is narrower is no column of its own
_COLUMNS = ("recipe", "languages", "parameters", "operations", "chosen for")


@click.command()
@click.argument("words", metavar="[WORD]...", nargs=-1)
@click.option("--markdown", is_flag=True, help="Write the table of docs/reference/recipes.md.")
@json_option
def recipes(words: tuple[str, ...], markdown: bool, as_json: bool) -> None:
    """List the recipes that come with mtmoe, or those that have a word.

    A recipe is one TOML file: text, subwords, model, training and decoding of one experiment. Its languages,
    parameters and operations are told, and what was measured with it: BLEU, or of a language model the perplexity per
    token (PPL). Operations are the paper's, per timestep: of a translation model with the output layer, of a language
    model without. A family of many recipes has one row; a word that only some have, or its name, lists its members.

    With WORDs, those recipes that have all of them in their name, group, description, languages, text or hardware:
    `mtmoe recipes WMT`. `mtmoe describe RECIPE` tells more of one.
    """
    from mtmoe.config import load_recipe, shipped_families, shipped_recipes
    from mtmoe.config.word_search import names_with_words

    loaded = {name: load_recipe(name) for name in shipped_recipes()}
    families = shipped_families()
    texts = {name: _searched(recipe) for name, recipe in loaded.items()}
    for name, family in families.items():
        texts |= {member: f"{texts[member]} {name}" for member in family.members}
    found = names_with_words(texts, words, "recipe", "mtmoe recipes")
    if as_json:
        of_member = {member: name for name, family in families.items() for member in family.members}
        write_json([_summary(loaded[name]) | {"family": of_member.get(name)} for name in found])
        return
    folded_families = [name for name, family in families.items() if _is_folded(family.members, found)]
    inside = {member for name in folded_families for member in families[name].members}
    summaries = [_summary(loaded[name]) for name in found if name not in inside]
    for name in folded_families:
        members = [_summary(loaded[member]) for member in families[name].members]
        summaries.append(_summary_of_family(name, families[name].description, members))
    summaries.sort(key=lambda summary: str(summary["name"]))
    if markdown:
        write_text(markdown_table(summaries))
    else:
        write_data(_in_groups(summaries, output_columns()))


def _is_folded(members: Sequence[str], found: Sequence[str]) -> bool:
    """Return whether a family is one row: all of its members were found, and others besides."""
    return set(members) < set(found)


def _searched(recipe: Recipe) -> str:
    about, data = recipe.about, recipe.data
    sources = [source.name for source in data.train]
    return " ".join((recipe.name, about.group or "", about.description, about.hardware, data.languages, *sources))


def _summary(recipe: Recipe) -> dict[str, Any]:
    data = recipe.data
    return {
        "name": recipe.name,
        "group": recipe.about.group,
        "task": recipe.task,
        "description": recipe.about.description,
        "languages": data.languages if data.multilingual is None else f"{len(data.train)} pairs",
        "source_language": data.source_language,
        "target_language": data.target_language,
        "train": [source.name for source in data.train],
        **_sizes(recipe.model, recipe.subwords.vocabulary_size, recipe.task),
        "hardware": recipe.about.hardware,
        "results": [result.model_dump() for result in recipe.about.results],
    }


@functools.cache
def _sizes(model: Model, vocabulary_size: int, task: str) -> dict[str, int]:
    """Return parameters and operations of a network, which many members of a family share."""
    from mtmoe.model.description import describe_language_model, describe_model

    is_text = task == "language-model"
    described = (describe_language_model if is_text else describe_model)(model, vocabulary_size)
    operations = described.operations_without_output if is_text else described.operations_in_translation
    return {"num_parameters": described.num_parameters, "operations": operations}


def _summary_of_family(name: str, description: str, members: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the row of a family; parameters and operations are those of its smallest and its largest member."""
    pairs = {frozenset((member["source_language"], member["target_language"])) for member in members}
    return {
        **members[0],
        "name": name,
        "description": f"{description}: `mtmoe recipes {name}`",
        "languages": f"{len(pairs)} pairs",
        "num_parameters": tuple(pick(member["num_parameters"] for member in members) for pick in (min, max)),
        "operations": tuple(pick(member["operations"] for member in members) for pick in (min, max)),
        "hardware": "; ".join(dict.fromkeys(member["hardware"] for member in members)),
        "results": [],
    }


def _in_groups(summaries: list[dict[str, Any]], columns: int) -> str:
    """Return the list for people: a heading for each group, and of each recipe a row and a paragraph."""
    from mtmoe.config.settings.about import GROUPS

    rows = {summary["name"]: _row(summary) for summary in summaries}
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows.values(), strict=True)]
    parts = [_line(_COLUMNS, widths, columns)]
    for group in (*GROUPS, None):
        of_group = [summary for summary in summaries if summary["group"] == group]
        if of_group:
            title = "others" if group is None else group
            lines = folded(title[0].upper() + title[1:], columns).splitlines()
            parts.append("\n" + "".join(f"{heading(line)}\n" for line in lines))
            parts += [_line(rows[it["name"]], widths, columns) + _paragraph(it, columns) for it in of_group]
    return "".join(parts)


def _row(summary: dict[str, Any]) -> list[str]:
    return [
        summary["name"],
        summary["languages"],
        millions(summary["num_parameters"]),
        millions(summary["operations"]),
        summary["hardware"],
    ]


def _line(cells: Sequence[str], widths: Sequence[int], columns: int) -> str:
    """Return a row whose last cell, where it is too long, goes on below itself."""
    aligned = "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(cells[:-1], "<<>>", widths, strict=False))
    below = len(aligned) + _INDENT
    return folded(f"{aligned}  {cells[-1]}", columns, 2, below if below + _LEAST_CELL <= columns else _INDENT)


def _paragraph(summary: dict[str, Any], columns: int) -> str:
    results = [f"{_number(result)} ({result['test_set']})" for result in summary["results"]]
    sentences = [summary["description"].removesuffix("."), ", ".join(results)]
    return folded("".join(f"{sentence}. " for sentence in sentences if sentence), columns, _INDENT)


def _number(result: dict[str, Any]) -> str:
    return f"PPL {result['perplexity']:.2f}" if result["bleu"] is None else f"BLEU {result['bleu']:.1f}"


def markdown_table(summaries: list[dict[str, Any]]) -> str:
    """Return a table in Markdown: name, description, parameters and operations of each recipe."""
    lines = ["| recipe | what it is | parameters | operations |", "|---|---|---|---|"]
    for summary in summaries:
        sizes = f"{millions(summary['num_parameters'])} | {millions(summary['operations'])}"
        lines.append(f"| `{summary['name']}` | {summary['description']} | {sizes} |")
    return "\n".join(lines) + "\n"


def millions(number: int | tuple[int, ...]) -> str:
    """Return a count in millions or billions: ``7.6 M``, ``8.66 B``; of several, the largest: ``to 8.66 B``."""
    if isinstance(number, tuple):
        return f"to {millions(max(number))}" if len(set(number)) > 1 else millions(number[0])
    return f"{number / 1e9:.2f} B" if number >= 1e9 else f"{number / 1e6:.1f} M"
