"""``mtmoe push``: a model to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

import click

from mtmoe import __version__

from ...console import command_line, note, number_of_bytes, shown_progress, write_text
from ...options import MODEL, device_option


@click.command()
@click.argument("model", metavar="RUN|PACKAGE", type=MODEL)
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--public", "is_public", is_flag=True, help="Make a new repository public.  [default: private]")
@device_option
def push(model: Path, repository: str, is_public: bool, device: str | None) -> None:
    """Send a model to a repository of the Hugging Face hub.

    The repository gets the package as model.mtmoe, and its model card as README.md. One that is not there is made,
    private unless --public is given. A RUN is packaged as `mtmoe package` does it without options.

    The token is read from HF_TOKEN and nowhere else. HF_ENDPOINT names another hub. What the hub has already is not
    sent again, so that the same command goes on after an interruption.
    """
    from mtmoe.sharing.hub import parse_repository, push
    from mtmoe.system.process_settings import prepare_for_translation

    where = parse_repository(repository)
    prepare_for_translation()
    with shown_progress() as progress:
        done = push(model, where, __version__, is_public=is_public, device=device, progress=progress)
    write_text(f"{done.address}\n")
    note(f"{where}: {number_of_bytes(done.num_bytes)}, " + (f"commit {done.commit}" if done.commit else "no change"))
    note(f"next: {command_line('pull', where)}")
