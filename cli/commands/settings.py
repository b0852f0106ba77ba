"""``mtmoe settings``: the list of settings, searched by a word."""

from __future__ import annotations

import click

from ..console import write_json
from ..options import json_option
from ..setting_paragraphs import records, write_settings


@click.command()
@click.argument("words", metavar="[WORD]...", nargs=-1)
@json_option
def settings(words: tuple[str, ...], as_json: bool) -> None:
    """List the settings of recipes, or those that have a word.

    Of each setting: what it takes, its unit, its default and what it means. With WORDs, those settings that have all
    of them in their key, their meaning or the words to choose from: `mtmoe settings beam`.

    A key such as data.train[].name belongs to each table of a list ([[data.train]] in TOML), and data.train[tsv].file
    to those with format = "tsv". Settings go into a recipe, or into --set KEY=VALUE. `mtmoe describe RECIPE --settings`
    shows the values of a recipe.
    """
    from mtmoe.config import find_settings

    found = find_settings(words)
    if as_json:
        write_json(records(found))
    else:
        write_settings(found)
