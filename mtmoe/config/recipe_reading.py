"""Strict reader of recipes.

An unknown key, a wrong type, a value out of range or two settings that contradict each other raise
:class:`~mtmoe.errors.UserError` with file, line, key, value and, where there is one, the nearest valid name.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from mtmoe.config.nearest_names import did_you_mean
from mtmoe.config.recipe_files import read_recipe_file
from mtmoe.config.setting_descriptions import describe_settings
from mtmoe.config.settings import Recipe, Settings
from mtmoe.config.settings.data import source_formats
from mtmoe.config.toml_text import leaves, parse_value, unusable_values
from mtmoe.config.types_in_words import tables_in
from mtmoe.errors import UserError
from mtmoe.system.printable import printable

_WORDS_OF_TOML = {
    "a valid dictionary or object": "a table",
    "an object": "a table",
    "a valid dictionary": "a table",
    "a valid array": "a list",
    "a valid list": "a list",
    "a valid tuple": "a list",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "text in quotes",
    "a valid boolean": "true or false",
}
"""What the validator calls Python's and JSON's kinds, in a recipe's words."""
_NOT_OF_A_NAME = re.compile("[^A-Za-z0-9_.-]")


def load_recipe(recipe: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe strictly.

    Args:
        recipe: name of a shipped recipe, or path of a TOML file.
        overrides: ``section.key=value`` strings (``--set``); value is TOML, or a bare word.

    Raises:
        UserError: naming file, line, key, value and the nearest valid name.
    """
    path, merged, origin = read_recipe_file(recipe)
    for override in overrides:
        _apply_override(merged, origin, override)
    merged.setdefault("name", _NOT_OF_A_NAME.sub("_", path.stem) or "recipe")
    _switch_off(merged, Recipe)
    return _validated(merged, origin, path)


def recipe_from_toml(content: bytes, path: Path, overrides: Iterable[str] = ()) -> Recipe:
    """Validate a resolved recipe, which extends no other, as :func:`recipe_to_toml` writes it.

    Args:
        path: what messages call it.
        overrides: as for :func:`load_recipe`.

    Raises:
        UserError: it is damaged, or a setting is none.
    """
    try:
        settings = tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise UserError(f"{path}: damaged: {error}", fix="restore it from a backup") from None
    origin: dict[str, str] = {}
    for override in overrides:
        _apply_override(settings, origin, override)
    _switch_off(settings, Recipe)
    return _validated(settings, origin, path)


def recipe_from_dict(settings: Mapping[str, Any], path: Path) -> Recipe:
    """Validate settings that were read from ``path`` (a run's saved recipe, a manifest)."""
    return _validated(dict(settings), {}, path)


def recipe_to_toml(recipe: Recipe) -> str:
    """Return the fully resolved recipe as TOML; reading it back gives an equal recipe."""
    return "\n".join(_toml_lines(recipe.model_dump(mode="json", exclude_none=True), prefix="")) + "\n"


def _switch_off(settings: dict[str, Any], table: type[Settings]) -> None:
    """Remove each table that is `false`, with what a base recipe says of it: it is off, or has its defaults; and each
    number that may be absent."""
    for name, field in table.model_fields.items():
        if name not in settings:
            continue
        inner = next(tables_in(field.annotation), None)
        if settings[name] is False and (inner is not None or field.default is None) and not field.is_required():
            del settings[name]
        elif inner is None:
            continue
        elif isinstance(settings[name], dict):
            settings[name] = dict(settings[name])
            _switch_off(settings[name], inner)


def _apply_override(settings: dict[str, Any], origin: dict[str, str], override: str) -> None:
    key, equals, raw = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UserError(f"--set {override}: not of the form section.key=value", fix="--set training.max_steps=2000")
    value = parse_value(raw, f"--set {override}")
    if key.count(".") > 20 or "" in key.split("."):
        raise UserError(f"--set {override}: {key} is not a setting", fix="--set training.max_steps=2000")
    *tables, last = key.split(".")
    where = settings
    for depth, table in enumerate(tables, start=1):
        if table not in where:  # it is the override that brings it in, right or misspelt
            origin[".".join(tables[:depth])] = f"--set {override}"
        child = where.setdefault(table, {})
        if child is False:  # a table that is off comes back by what is set of it
            child = {}
        if not isinstance(child, dict):
            raise UserError(
                f"--set {override}: {table} is not a table (it is {_shown(child)})",
                fix="see `mtmoe describe RECIPE --settings`",
            )
        where[table] = where = dict(child)
    where[last] = value
    for name in [name for name in origin if name.startswith(f"{key}.")]:
        del origin[name]
    origin[key] = f"--set {override}"


def _validated(settings: dict[str, Any], origin: dict[str, str], path: Path) -> Recipe:
    for key, what in unusable_values(settings):
        raise UserError(f"{_origin_of(key, origin, path)}: {key}: {what}", fix=_range_of(key))
    for key, text in _texts(settings):
        if not text.isascii() and text != text.encode("utf-8", "replace").decode("utf-8"):
            raise UserError(
                f"{_origin_of(key, origin, path)}: {key} = {printable(text)}: is not UTF-8, as recipes and runs are",
                fix="give the file a name that is UTF-8, or a link of such a name: ln -s FILE NAME",
            )
    try:
        # Through JSON, where strict mode still lets an array be a tuple; nan and inf are not settings.
        return Recipe.model_validate_json(json.dumps(settings, default=str))
    except ValidationError as error:
        # Unknown names first: they usually explain the other complaints.
        details = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        raise UserError(*_explained(details[0], settings, origin, path)) from None


def _texts(settings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield all strings in the settings, names of settings too, each with its dotted key."""
    for key, value in leaves(settings):
        yield key, key
        if isinstance(value, str):
            yield key, value


def _range_of(key: str) -> str:
    """Return what a setting takes and means; for a key that is none, where to look."""
    for setting in describe_settings():
        if setting.key == key:
            return f"{key} takes: {setting.type}. {setting.meaning}"
    return "see `mtmoe describe RECIPE --settings`"


def _explained(error: Any, settings: dict[str, Any], origin: dict[str, str], path: Path) -> tuple[str]:
    formats = set(source_formats())
    location = tuple(
        part
        for part in error["loc"]
        if part not in formats and not str(part).startswith(("tuple[", "literal[", "function-"))
    )
    key = ".".join(str(part) for part in location)
    where = _origin_of(key, origin, path)
    value = error.get("input")
    kind = error["type"]
    if kind == "extra_forbidden":
        names = _valid_names(location[:-1], settings)
        name = str(location[-1])
        inside = next(iter(value)) if isinstance(value, dict) and len(value) == 1 else ""  # of --set TABLE.NAME=...
        guess = _elsewhere(name, 1.0) or _elsewhere(inside, 1.0) or did_you_mean(name, names) or _elsewhere(name)
        hint = guess or f"; valid here: {', '.join(names)}"
        return (f"{where}: unknown setting {key} = {_shown(value)}{hint}",)
    if kind == "missing":
        sentence = _sentence_of(location)
        told = f" ({sentence})" if sentence else ""
        return (f"{where}: {key} is missing{told}; write it there, or let the recipe extend one that has it",)
    message = re.sub(r"^(Input|String|Tuple|List|Dictionary|Value)(?= should)", "it", error["msg"])
    message = re.sub(r" after validation, not \d+$", "", message.removeprefix("Value error, "))
    for term, word in _WORDS_OF_TOML.items():
        message = message.replace(term, word)
    if kind == "value_error":
        blamed = " and ".join(_lines_of_contradiction(message, key, origin)) or where
        advice = "" if "; " in message else "; change one of them, or leave it out"
        return (f"{blamed}: {key + ': ' if key else ''}{message}{advice}",)
    context = error.get("ctx", {})
    if kind == "union_tag_invalid":
        tag, tags = context["tag"], [name.strip(" '") for name in context["expected_tags"].split(",")]
        return (
            f"{where}: {key}.format = {_shown(tag)}: it should be one of {', '.join(tags)}{did_you_mean(tag, tags)}",
        )
    if kind == "union_tag_not_found":
        return (f"{where}: {key}.format is missing: it is one of {', '.join(sorted(formats))}",)
    guess = ""
    if kind == "literal_error" and isinstance(value, str):
        choices = [name.strip(" '") for name in str(context.get("expected", "")).replace(" or ", ",").split(",")]
        guess = did_you_mean(value, choices)
    sentence = _sentence_of(location)
    return (f"{where}: {key} = {_shown(value)}: {message}{guess}{f' ({sentence})' if sentence else ''}",)


def _lines_of_contradiction(message: str, table: str, origin: dict[str, str]) -> list[str]:
    """Return the lines, perhaps of two files, that set the settings which a message names."""
    lines = []
    for name in re.findall(r"[A-Za-z_][A-Za-z0-9_.]*(?= = )", message):
        inside = f"{table}." if table else ""
        keys = [key for key in (f"{inside}{name}", name) if key in origin]
        keys += [key for key in origin if key.startswith(inside) and key.endswith(f".{name}")]
        if keys:
            lines.append(origin[keys[0]])
    return list(dict.fromkeys(lines))


def _elsewhere(name: str, least_similarity: float = 0.8) -> str:
    """Return a guess at the table of a setting that was named without it; empty where there is none."""
    by_name: dict[str, list[str]] = {}
    for setting in describe_settings():
        if "[" not in setting.key and not setting.is_table:
            by_name.setdefault(setting.key.rpartition(".")[2], []).append(setting.key)
    near = difflib.get_close_matches(name, by_name, n=1, cutoff=least_similarity)
    keys = by_name[near[0]] if near else []
    return f"; did you mean {' or '.join(map(repr, keys))}?" if 0 < len(keys) <= 3 else ""


def _origin_of(key: str, origin: dict[str, str], path: Path) -> str:
    while key:
        if key in origin:
            return origin[key]
        key = key.rpartition(".")[0]
    return str(path)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _table_at(location: tuple[Any, ...], settings: Any) -> type[Settings] | None:
    """Return the settings class that a place in the recipe is read into; of several, that of its `format`."""
    candidates: list[type[Settings]] = [Recipe]
    for part in location:
        settings = settings[part] if isinstance(settings, (dict, list)) and _has(settings, part) else None
        if not isinstance(part, int):
            field = _chosen_of(candidates, None).model_fields.get(str(part))
            candidates = list(tables_in(field.annotation)) if field else []
            if not candidates:
                return None
        candidates = [_chosen_of(candidates, settings)] if isinstance(settings, dict) else candidates
    return _chosen_of(candidates, settings)


def _chosen_of(candidates: list[type[Settings]], settings: Any) -> type[Settings]:
    chosen = settings.get("format") if isinstance(settings, dict) else None
    for candidate in candidates if len(candidates) > 1 else []:
        if chosen in get_args(candidate.model_fields["format"].annotation):
            return candidate
    return candidates[0]


def _has(container: Any, part: Any) -> bool:
    return part in container if isinstance(container, dict) else isinstance(part, int) and part < len(container)


def _valid_names(location: tuple[Any, ...], settings: dict[str, Any]) -> list[str]:
    table = _table_at(location, settings)
    return sorted(table.model_fields) if table else []


def _sentence_of(location: tuple[Any, ...]) -> str:
    if not location:
        return ""
    table = _table_at(location[:-1], {})
    field = table.model_fields.get(str(location[-1])) if table else None
    return (field.description or "") if field else ""


def _toml_lines(table: dict[str, Any], prefix: str) -> Iterator[str]:
    """Yield lines of TOML for plain JSON data. Tables in arrays are inline, which keeps this small and exact."""
    for key, value in table.items():
        if not isinstance(value, dict):
            yield f"{key} = {_toml_value(value)}"
    for key, value in table.items():
        if isinstance(value, dict):
            yield f"\n[{prefix}{key}]"
            yield from _toml_lines(value, f"{prefix}{key}.")


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
