"""A command in each process of a group, as torchrun starts it."""

from __future__ import annotations

from typing import NamedTuple

from tests.distributed.processes.group import run_group


class Invoked(NamedTuple):
    """What a command did in one process."""

    status: int
    output: str
    talk: str


def invoke_in_group(num_processes: int, *arguments: object) -> list[Invoked]:
    """What `mtmoe` does with these arguments in each process."""
    return run_group(num_processes, _invoked, *map(str, arguments))


def _invoked(*arguments: str) -> Invoked:
    from click.testing import CliRunner
    from mtmoe.cli import main

    result = CliRunner().invoke(main, arguments)
    return Invoked(result.exit_code, result.stdout, result.stderr)
