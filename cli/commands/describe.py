"""``mtmoe describe``: layers, sizes and settings of a recipe or run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..console import number_of_bytes, write_json, write_table, write_text
from ..options import json_option, own_recipe, set_option
from ..setting_paragraphs import records, write_settings

if TYPE_CHECKING:
    from mtmoe.config import Recipe
    from mtmoe.model.description import ModelDescription


@click.command()
@click.argument("recipe_or_run", metavar="RECIPE|RUN")
@click.option("--settings", "show_settings", is_flag=True, help="Every setting: value, default, range and meaning.")
@set_option
@json_option
def describe(recipe_or_run: str, show_settings: bool, overrides: tuple[str, ...], as_json: bool) -> None:
    """Show layers, parameters and operations of a recipe or a run.

    Operations are multiply-adds of one source and one target token, forward, with k of the n experts. The paper
    counts its translation models with the output layer and its language models without; both counts are told. It
    takes no memory, whatever the model's size.
    """
    recipe = _recipe(recipe_or_run, overrides)
    if show_settings:
        _write_settings(recipe, as_json)
    else:
        _write_model(recipe, as_json)


def _recipe(recipe_or_run: str, overrides: tuple[str, ...]) -> Recipe:
    from mtmoe.config import shipped_recipes

    path = Path(recipe_or_run)
    # `make demo` makes a folder of that name; a recipe's name means the recipe.
    if path.suffix != ".mtmoe" and (not path.is_dir() or recipe_or_run in shipped_recipes()):
        return own_recipe(recipe_or_run, overrides)
    from mtmoe.checkpoint import open_model, open_run  # which import torch

    if path.suffix == ".mtmoe":
        return open_model(path).recipe(overrides)
    return own_recipe(str(open_run(path).recipe), overrides)


# ------------------------------------------------------------------------------------------------- model


def _write_model(recipe: Recipe, as_json: bool) -> None:
    from mtmoe.model.description import describe_recipe

    model = describe_recipe(recipe)
    num_readings = recipe.training.num_readings
    if as_json:
        totals = {
            "num_parameters": model.num_parameters,
            "num_bytes": model.num_bytes,
            "num_parameters_as_language_model": model.num_inner_weights,
            "operations": model.operations,
            "operations_as_language_model": model.operations_without_output,
            "operations_as_translation_model": model.operations_in_translation,
            "operations_in_training": num_readings * model.operations,
        }
        write_json(
            {"name": recipe.name, "task": recipe.task, "layers": [layer._asdict() for layer in model.layers], **totals}
        )
        return
    about = f": {recipe.about.description}" if recipe.about.description else ""
    write_text(f"{recipe.name} ({recipe.data.languages}){about}\n\n")
    write_table(("layer", "kind", "parameters", "operations"), _model_rows(model, num_readings))


def _model_rows(model: ModelDescription, num_readings: int) -> Iterator[tuple[str, str, str, str]]:
    for layer in model.layers:
        yield layer.name, layer.kind, f"{layer.num_parameters:,}", f"{layer.operations:,}"
    yield "total", f"{number_of_bytes(model.num_bytes)} in fp32", f"{model.num_parameters:,}", f"{model.operations:,}"
    yield (
        "in the paper",
        "as a language model: no embedding, output layer, biases",
        f"{model.num_inner_weights:,}",
        f"{model.operations_without_output:,}",
    )
    yield "", "as a translation model: no noise", "", f"{model.operations_in_translation:,}"
    if num_readings > 1:
        yield (
            "in training",
            "each pair is read twice (training.consistency)",
            "",
            f"{num_readings * model.operations:,}",
        )


# ---------------------------------------------------------------------------------------------- settings


def _write_settings(recipe: Recipe, as_json: bool) -> None:
    from mtmoe.config import describe_settings

    settings = describe_settings()
    tree = recipe.model_dump(mode="json")
    values = {setting.key: _value_at(tree, setting.key.split("."), setting.is_table) for setting in settings}
    if as_json:
        write_json(records(settings, values))
    else:
        write_settings(settings, values)


def _value_at(tree: Any, parts: list[str], is_table: bool) -> str:
    """Return the value of a key as JSON; of a key of the tables of a list, the values of all that have it.

    It is empty for a key inside of a table that is absent, and for a table that is there. Of a list of tables it is
    their number.
    """
    if not parts:
        if isinstance(tree, list) and is_table:
            return f"{len(tree)} table{'s' if len(tree) != 1 else ''}"
        return "" if isinstance(tree, dict) else json.dumps(tree, ensure_ascii=False)
    name, bracket, which = parts[0].removesuffix("]").partition("[")
    inner = tree.get(name) if isinstance(tree, dict) else None
    if inner is None and (len(parts) > 1 or not isinstance(tree, dict) or name not in tree):
        return ""
    if not bracket:
        return _value_at(inner, parts[1:], is_table)
    chosen = [table for table in inner or [] if which in ("", table.get("format"))]
    return ", ".join(dict.fromkeys(_value_at(table, parts[1:], is_table) for table in chosen))
