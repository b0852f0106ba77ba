"""Result of one check, and the rule that checking never fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

State = Literal["ok", "warning", "error"]


class Check(NamedTuple):
    """Result of one check. found: what there is. advice: what to do about it, or empty where the state is ok."""

    name: str
    state: State
    found: str
    advice: str = ""


def run_check(name: str, look: Callable[[], Iterable[Check]]) -> list[Check]:
    """Return the results that ``look`` yields. What it raises becomes an error result of that name."""
    try:
        return list(look())
    except Exception as problem:
        first_line = (str(problem).splitlines() or [""])[0]
        return [Check(name, "error", f"could not be looked at: {type(problem).__name__}: {first_line}", "see the text")]
