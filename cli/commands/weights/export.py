"""``mtmoe export``: the weights of a run as one file."""

from __future__ import annotations

from pathlib import Path

import click

from ...console import note
from ...options import FILE, checkpoint_option, run_argument


@click.command()
@run_argument
@click.argument("file", metavar="FILE", type=FILE)
@checkpoint_option
def export(run: Path, file: Path, checkpoint: str) -> None:
    """Write a run's weights to one safetensors file.

    Also those of a run of many processes, whose checkpoints are sharded: all experts, under the names of the model's
    parameters.
    """
    from mtmoe.checkpoint import export_weights

    exported = export_weights(run, checkpoint, file)
    note(f"{file}: the weights of {', '.join(part.name for part in exported)}")
