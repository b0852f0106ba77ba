"""``mtmoe fetch``: downloads of a recipe's text."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtmoe.errors import Unreachable

from ..console import command_line, note, number_of_bytes, shown_progress
from ..options import cache_option, own_recipe, recipe_argument, set_option

if TYPE_CHECKING:
    from mtmoe.config import Recipe
    from mtmoe.data.raw.fetching import Download


@click.command()
@recipe_argument
@set_option
@cache_option
def fetch(recipe_name: str, overrides: tuple[str, ...], cache: Path | None) -> None:
    """Download a recipe's text into the cache.

    Says sizes and licences first. Interrupted downloads are resumed, and every file is checked against the
    SHA-256 in the recipe. What is in the cache already is not downloaded again.
    """
    from mtmoe.data.raw import fetching

    recipe = own_recipe(recipe_name, overrides)
    where = cache or fetching.cache_directory()
    tell_downloads(fetching.planned_downloads(recipe, where), where)
    with shown_progress() as progress, told_what_is_missing(recipe, recipe_name, where):
        fetching.fetch(recipe, where, progress)
    note(f"the text of {recipe.name} is complete; next: {command_line('preprocess', recipe_name, 'DATA_DIR')}")


@contextlib.contextmanager
def told_what_is_missing(recipe: Recipe, recipe_name: str, cache: Path) -> Iterator[None]:
    """Add to an error of the network what is missing, how large it is, where it lies and which command fetches it."""
    try:
        yield
    except Unreachable as error:
        from mtmoe.data.raw import fetching

        missing = [download for download in fetching.planned_downloads(recipe, cache) if not download.cached]
        lines = [
            f"  {download.name}: {_size(download)} from {download.origin} to {download.path.parent}"
            for download in missing
        ]
        command = command_line("fetch", recipe_name)
        advice = f"where there is a network, `{command}` fetches what is missing; then copy it here:"
        raise Unreachable(error.problem, fix="\n".join([f"{error.fix};", advice, *lines])) from error


def _size(download: Download) -> str:
    return number_of_bytes(download.num_bytes) if download.num_bytes else "size not stated"


def tell_downloads(downloads: Iterable[Download], cache: Path) -> None:
    """Tell what is going to be downloaded, how much it is and on which terms."""
    for download in downloads:
        size = _size(download)
        state = "in the cache" if download.cached else f"to be downloaded to {cache}"
        note(f"{download.name}: {download.origin}, {size}, {state}")
        note(f"  licence: {download.license or 'not stated'}")
