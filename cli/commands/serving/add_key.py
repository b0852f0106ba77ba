"""``mtmoe add-key``: a key for clients of a server."""

from __future__ import annotations

from pathlib import Path

import click

from ...console import write_data
from ...options import FILE


@click.command("add-key")
@click.argument("keys", metavar="KEYS", type=FILE)
@click.argument("name", metavar="NAME")
def add_key(keys: Path, name: str) -> None:
    """Make an API key for `mtmoe serve --api-keys KEYS`, and print it.

    KEYS gets a line with NAME and the SHA-256 of the key, from which nobody can make the key: it is printed once, here.
    Who deletes the line and restarts the server takes the key away.
    """
    from mtmoe.serving.api_keys import add_api_key

    write_data(f"{add_api_key(keys, name)}\n")
