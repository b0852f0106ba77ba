"""A few of the signals of `python -m tests.campaign.kills`: one for each command that goes on with what is there."""

from __future__ import annotations

from pathlib import Path

from tests.campaign.kills import COMMANDS, kill_commands

RESUMED = ("train", "filter", "translate a stream", "translate files into one", "synthesise")


def test_what_killed_commands_make_in_the_end_has_the_same_bytes(tmp_path: Path) -> None:
    commands = [command for command in COMMANDS if command.name in RESUMED]
    totals = kill_commands(tmp_path, num_kills=3, num_terms=2, seed=1, commands=commands)
    assert totals.wrong == []
    assert sum(totals.sent.values()) == len(RESUMED)
    assert {name.partition(": ")[0] for name in totals.sent} == set(RESUMED)
