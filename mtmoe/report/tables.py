"""Tables of a page, and how figures stand in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

ABSENT = "–"


class Table(NamedTuple):
    """Rows of cells; the first cell of a row is its heading."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def figure(value: Any) -> str:
    """Return a number in three digits."""
    return f"{value:.3g}" if isinstance(value, (int, float)) and math.isfinite(value) else ABSENT
