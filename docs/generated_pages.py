"""Pages that are made of the code: settings of a recipe, and lines of metrics.jsonl."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from mtmoe.config import SettingDescription, describe_settings
from mtmoe.training.metrics import records


def write(folder: Path) -> None:
    """Write all generated pages into ``folder``; one that has not changed is left alone, so that Sphinx is quick."""
    folder.mkdir(exist_ok=True)
    for name, lines in (("settings.md", settings_page()), ("metrics.md", metrics_page())):
        text = "\n".join(lines)
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def settings_page() -> Iterator[str]:
    """Yield the lines of the page of settings: a heading for each table, a paragraph for each setting."""
    described = {setting.key: setting for setting in describe_settings()}
    tables: dict[str, list[SettingDescription]] = {}
    for setting in described.values():
        tables.setdefault(setting.key.rpartition(".")[0], []).append(setting)
    for table, settings in tables.items():
        yield f"## {f'`[{table}]`' if table else 'Top of the file'}\n"
        if table in described:
            yield f"{described[table].meaning}\n"
        for setting in settings:
            name = setting.key.rpartition(".")[2]
            yield f"`{name}`\n: {setting.meaning}\n\n  *{_what_it_takes(setting)}*\n"


def _what_it_takes(setting: SettingDescription) -> str:
    unit = f", in {setting.unit}" if setting.unit else ""
    plain = setting.default in ("required", "absent", "its own defaults")
    return f"{setting.type}{unit}; {setting.default if plain else f'default `{setting.default}`'}"


_RECORDS = (
    ('`"event": "train"`', "{}", ("WindowMetrics", "TrainingMetrics")),
    ("Each MoE layer, in the same line", "LAYER.{}", ("LayerMetrics",)),
    ('`"event": "validation"`', "{}", ("ModelQuality", "ValidationMetrics")),
    ("Each of several dev sets, in the same line", "{}.SET", ("DevSetMetrics",)),
    ("Each MoE layer on each of several dev sets", "LAYER.{}.SET", ("LanguageRouting",)),
    ('`"event": "interpolation"`', "{}", ("InterpolationMetrics",)),
    ("Each trial, in the same line: a list of each", "{}", ("InterpolationTrial",)),
    ('`"event": "alarm"`', "{}", ("AlarmMetrics",)),
)
"""Headings, what a key is made of, and the records that have the fields."""
_NOT_IN_A_LINE = {"layers", "quality", "dev_sets", "routing", "trials"}
_OTHER_KEYS = {"auxiliary_losses": "LOSS_loss"}


def metrics_page() -> Iterator[str]:
    """Yield the lines of the page of metrics: a table for each record that becomes a part of a line."""
    tree = ast.parse(Path(records.__file__).read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for heading, pattern, names in _RECORDS:
        yield f"## {heading}\n\n| key | meaning |\n|---|---|"
        for name in names:
            for field, meaning in _documented_fields(classes[name]):
                if field not in _NOT_IN_A_LINE:
                    key = pattern.format(_OTHER_KEYS.get(field, field.removesuffix("_E")))
                    yield f"| `{key}` | {meaning} |"
        yield ""


def _documented_fields(record: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Yield the fields of a class with the strings that stand behind them, or else their names in words."""
    for node, after in itertools.zip_longest(record.body, record.body[1:]):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and "ClassVar" not in ast.dump(node):
            told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            name = node.target.id
            yield name, " ".join(after.value.value.split()) if told else f"{name.capitalize().replace('_', ' ')}."


def plain_text(lines: list[str]) -> None:
    """Change the help of a command, in place: letters stand as they are, and columns stay columns.

    sphinx-click gives reStructuredText, in which the lines of a table begin with a bar.
    """
    changed: list[str] = []
    in_table = False
    for line in lines:
        is_row = line.startswith("| ")
        if is_row != in_table:
            changed += ["::", ""] if is_row else [""] if line else []
        changed.append(f"    {line[2:]}" if is_row else _escaped(line))
        in_table = is_row
    lines[:] = changed


def _escaped(line: str) -> str:
    """Return a line that has no markup but for `names of commands`."""
    parts = re.split(r"`([^`]+)`", line)
    return "".join(f"``{part}``" if n % 2 else re.sub(r"([*_|\\])", r"\\\1", part) for n, part in enumerate(parts))
