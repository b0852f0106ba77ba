"""TOML of recipe files and of ``--set``, read within bounds: any text gives values, or one error."""

from __future__ import annotations

import datetime
import functools
import math
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mtmoe.errors import UserError

_MOST_BYTES = 1 << 20  # the largest shipped recipe has 4 kB
_MOST_DEPTH = 40  # tables in tables; recipes have four
_MOST_BITS = 256  # of a whole number: beyond any range, and short enough to be shown


def read_toml(path: Path) -> tuple[dict[str, Any], str]:
    """Return the settings of a file, and its text.

    Raises:
        UserError: it is no regular file, too large, not UTF-8, not TOML, or nested too deeply.
    """
    text = _read_text(path)
    try:
        settings, is_too_deep = _parsed(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not valid TOML: {error}", fix="see https://toml.io for the syntax") from None
    except (RecursionError, ValueError) as error:
        raise UserError(f"{path}: {_beyond(error)}", fix="see `mtmoe describe RECIPE --settings`") from None
    if is_too_deep:
        raise UserError(f"{path}: {_beyond(RecursionError())}", fix="see `mtmoe describe RECIPE --settings`")
    return _copied(settings), text


@functools.lru_cache(maxsize=64)
def _parsed(text: str) -> tuple[dict[str, Any], bool]:
    """Parse TOML, and return whether it is nested too deeply; a file that many recipes extend is parsed once."""
    settings = tomllib.loads(text)
    return settings, _is_too_deep(settings)


def _copied(value: Any) -> Any:
    """Return a copy of what TOML gives, tables and arrays included, in a fifth of the time of `copy.deepcopy`."""
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def parse_value(raw: str, where: str) -> Any:
    """Return the value of a ``--set``: TOML, or else the text as it is.

    Raises:
        UserError: it begins with ``where``; the value is too long, of several lines, nested too deeply, or half quoted.
    """
    try:
        settings = tomllib.loads(f"value = {raw}")
    except tomllib.TOMLDecodeError:
        if raw.strip().startswith(("'", '"')):
            raise UserError(f"{where}: a value that begins with a quotation mark ends with it", fix="add it") from None
        return raw.strip()
    except (RecursionError, ValueError) as error:
        raise UserError(f"{where}: {_beyond(error)}", fix="see `mtmoe describe RECIPE --settings`") from None
    if set(settings) != {"value"}:
        raise UserError(f"{where}: has several lines, of which only the first would count", fix="give one --set each")
    if _is_too_deep(settings["value"]):
        raise UserError(f"{where}: {_beyond(RecursionError())}", fix="see `mtmoe describe RECIPE --settings`")
    return settings["value"]


def unusable_values(settings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the dotted key of each value that no setting can have, and what is wrong with it."""
    for key, value in leaves(settings):
        if isinstance(value, float) and not math.isfinite(value):
            yield key, f"{value} is no number that a setting can have"
        elif isinstance(value, int) and value.bit_length() > _MOST_BITS:
            yield key, f"a number of {value.bit_length()} bits, more than any setting takes"
        elif isinstance(value, datetime.date | datetime.time):
            yield key, f"{value.isoformat()} is a date or a time, which no setting is; put a text in quotes"


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all values that are no tables and arrays, each with its dotted key."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from leaves(inner, f"{key}.{number}")
    else:
        yield key, value


def _read_text(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            what = "a directory" if stat.S_ISDIR(mode) else "a pipe or a device"
            raise UserError(f"{path}: is {what}, not a recipe file", fix="give the path of a TOML file")
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}", fix="look at the path and its rights") from None
    if len(content) > _MOST_BYTES:
        raise UserError(
            f"{path}: has more than {_MOST_BYTES:,} bytes, which no recipe has", fix="give the path of a TOML file"
        )
    try:
        return content.decode("utf-8-sig")  # editors on Windows begin a file with a byte order mark
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}: not UTF-8 (byte {error.start}), in line {line}",
            fix="save the recipe as UTF-8",
        ) from None


def _beyond(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"tables or arrays are nested more than {_MOST_DEPTH} deep, which no setting is"
    return "a number has more digits than any setting takes" if "digits" in str(error) else f"not valid: {error}"


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_MOST_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return False
    return True


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
