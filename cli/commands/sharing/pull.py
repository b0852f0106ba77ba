"""``mtmoe pull``: a model from the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

import click

from mtmoe.errors import UserError

from ...console import command_line, note, shown_progress, write_text
from ...options import DIRECTORY


@click.command()
@click.argument("repository", metavar="OWNER/NAME")
@click.argument("directory", metavar="[DIR]", type=DIRECTORY, default=".")
@click.option("--revision", default="main", show_default=True, help="Branch, tag or commit of the repository.")
def pull(repository: str, directory: Path, revision: str) -> None:
    """Fetch a model from a repository of the Hugging Face hub.

    The package is written to DIR/NAME.mtmoe, whose path goes to standard output. A part that was fetched before is not
    fetched again, nor is the whole file if it is there already. For a private repository export HF_TOKEN; HF_ENDPOINT
    names another hub.
    """
    from mtmoe.sharing.hub import parse_repository, pull

    where = parse_repository(repository)
    if not directory.is_dir():
        raise UserError(f"{directory}: there is no such directory", fix="make it first, or name another one")
    with shown_progress() as progress:
        done = pull(where, directory, revision=revision, progress=progress)
    write_text(f"{done.file}\n")
    note(f"{where}: commit {done.commit}" + (", was there already" if done.was_there else ""))
    note(f"next: {command_line('translate', done.file)}")
