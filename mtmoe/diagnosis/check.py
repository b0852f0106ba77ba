"""One thing that was looked at, and the rule that looking never fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

State = Literal["ok", "warning", "error"]


class Check(NamedTuple):
    """found: what there is. advice: what to do where it is not ok; else empty."""

    name: str
    state: State
    found: str
    advice: str = ""


def looked_at(name: str, look: Callable[[], Iterable[Check]]) -> list[Check]:
    """The checks that ``look`` gives; what it raises is an error of that name, never a traceback."""
    try:
        return list(look())
    except Exception as problem:
        first_line = (str(problem).splitlines() or [""])[0]
        return [Check(name, "error", f"could not be looked at: {type(problem).__name__}: {first_line}", "see the text")]
