"""TOML for people: settings in tables, each with a comment that says why it is so."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

_COLUMNS = 80


def commented_toml(settings: Mapping[str, Any], heading: str, reasons: Mapping[str, str]) -> str:
    """Return the settings as TOML; reading it back gives equal settings.

    Args:
        heading: a paragraph for the top.
        reasons: comments by the dotted key that they stand above; of arrays of tables none.
    """
    lines = [*_comment(heading), "", *_table(settings, "", reasons)]
    return "\n".join(lines) + "\n"


def _table(table: Mapping[str, Any], prefix: str, reasons: Mapping[str, str]) -> Iterator[str]:
    """Yield a table's own values, then its tables and arrays of tables."""
    inner = {key: value for key, value in table.items() if _is_table(value) or _is_array_of_tables(value)}
    for key, value in table.items():
        if key not in inner:
            yield from _comment(reasons.get(f"{prefix}{key}", ""))
            yield f"{key} = {_value(value)}"
    for key, value in inner.items():
        if _is_table(value):
            yield ""
            yield from _comment(reasons.get(f"{prefix}{key}", ""))
            yield f"[{prefix}{key}]"
            yield from _table(value, f"{prefix}{key}.", reasons)
        for row in value if _is_array_of_tables(value) else ():
            yield ""
            yield f"[[{prefix}{key}]]"
            yield from _row(row)


def _row(row: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the values of a table in an array, those of inner tables under dotted keys."""
    for key, value in row.items():
        if _is_table(value):
            yield from _row(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key} = {_value(value)}"


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_array_of_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_table, value))


def _comment(text: str) -> list[str]:
    lines = textwrap.wrap(text, _COLUMNS - len("# "), break_long_words=False, break_on_hyphens=False)
    return [f"# {line}" for line in lines]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)
