"""``mtmoe average``: the mean of several checkpoints."""

from __future__ import annotations

from pathlib import Path

import click

from mtmoe.errors import UserError

from ...console import command_line, note, write_data
from ...options import run_argument


@click.command()
@run_argument
@click.option(
    "--last", "num_last", type=click.IntRange(2, 1_000_000), metavar="N", help="Average the newest N checkpoints."
)
@click.option(
    "--checkpoint",
    "names",
    multiple=True,
    metavar="NAME",
    help="Average this checkpoint: a name in RUN/checkpoints or a step. Can be repeated.",
)
def average(run: Path, num_last: int | None, names: tuple[str, ...]) -> None:
    """Average the weights of a run's checkpoints.

    The mean becomes another checkpoint of the run. Its name is written to standard output; give it to
    `mtmoe translate RUN --checkpoint NAME`.
    """
    if (num_last is None) == (not names):
        raise click.UsageError("give either --last N or --checkpoint NAME (at least two of them)")
    from mtmoe.checkpoint import average_checkpoints

    averaged = average_checkpoints(run, names or _newest(run, num_last or 0))
    write_data(f"{averaged.name}\n")
    note(f"next: {command_line('translate', run, '--checkpoint', averaged.name)}")


def _newest(run: Path, num_last: int) -> list[str]:
    from mtmoe.checkpoint import list_steps, open_run

    names = [checkpoint.name for checkpoint in list_steps(open_run(run))]
    if len(names) < num_last:
        raise UserError(
            f"{run}: has {len(names)} checkpoints, fewer than --last {num_last}",
            fix="ask for fewer, or train with more: --set training.keep_last=N",
        )
    return names[-num_last:]
