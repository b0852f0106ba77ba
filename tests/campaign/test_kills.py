"""A few of the signals of `python -m tests.campaign.kills`: two or so for each command."""

from __future__ import annotations

from pathlib import Path

from tests.campaign.kills import kill_commands


def test_what_killed_commands_make_in_the_end_has_the_same_bytes(tmp_path: Path) -> None:
    totals = kill_commands(tmp_path, num_kills=7, num_terms=3, seed=1)
    assert totals.wrong == []
    assert sum(totals.sent.values()) == 10
