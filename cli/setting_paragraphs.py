"""Paragraphs of settings for people: key and value, what it takes, what it means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .console import folded, heading, output_columns, write_data

if TYPE_CHECKING:
    from mtmoe.config import SettingDescription

_INDENT = 4


def write_settings(settings: Sequence[SettingDescription], values: Mapping[str, str] | None = None) -> None:
    """Write a paragraph for each setting to standard output, with a recipe's values beside the keys if there are any.

    Args:
        settings: what to write.
        values: TOML by key; an empty text where a setting has no value of its own.
    """
    columns = output_columns()
    write_data("\n".join(_paragraph(setting, (values or {}).get(setting.key, ""), columns) for setting in settings))


def records(settings: Sequence[SettingDescription], values: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Return the settings for JSON, with a recipe's values if there are any."""
    found = []
    for setting in settings:
        of_recipe = {} if values is None else {"value": values.get(setting.key, "")}
        record = setting._asdict()
        found.append({"setting": record.pop("key"), **of_recipe, **record})
    return found


def _paragraph(setting: SettingDescription, value: str, columns: int) -> str:
    title = folded(f"{setting.key}{_shown(value, setting.is_table)}", columns, further_indent=_INDENT)
    first, line_feed, rest = title.partition("\n")
    return (
        f"{heading(first)}{line_feed}{rest}"
        f"{folded(_what_it_takes(setting), columns, _INDENT)}"
        f"{folded(setting.meaning, columns, _INDENT)}"
    )


def _shown(value: str, is_table: bool) -> str:
    if value == "null":
        return ": absent"
    return f": {value}" if value and is_table else f" = {value}" if value else ""


def _what_it_takes(setting: SettingDescription) -> str:
    """Return type, unit and default: ``whole number, 1 or more, in steps; default 1000``."""
    unit = f", in {setting.unit}" if setting.unit else ""
    default = {"required": "required", "absent": "absent by default"}.get(setting.default, f"default {setting.default}")
    if setting.is_table and setting.default not in ("required", "absent"):
        return setting.type
    return f"{setting.type}{unit}; {default}"
