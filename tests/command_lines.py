"""Command lines of documents and scripts, read by the command line itself without running anything."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import click
from mtmoe.cli import main

import mtmoe
from mtmoe.config import shipped_recipes


def parse(words: Sequence[str]) -> None:
    """Parse the arguments of one `mtmoe` command; raise what click raises for wrong ones."""
    rest = list(words)
    command: click.Command = main
    context = click.Context(main)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        assert found is not None, f"no such command: mtmoe {' '.join(words)}"
        command, rest = found, rest[1:]
    if "--help" not in rest:
        command.make_context("mtmoe", rest)


def load_recipe_of(words: Sequence[str]) -> int:
    """Load the shipped recipe that a command names with the settings it is given; return how many these are."""
    shipped = shipped_recipes()
    recipe = next((word for word in words if word in shipped), None)
    settings = [setting for option, setting in itertools.pairwise(words) if option == "--set"]
    if recipe is None or words[0] == "describe":
        return 0
    starts = [f"training.start.run={run}" for option, run in itertools.pairwise(words) if option == "--from"]
    mtmoe.load_recipe(recipe, [*starts, *settings])
    return len(settings)
