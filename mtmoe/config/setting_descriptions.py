"""Descriptions of all settings, for the documentation, ``mtmoe settings`` and messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple, get_args

from pydantic.fields import FieldInfo

from mtmoe.config.settings import Recipe, Settings
from mtmoe.config.types_in_words import choices_of, tables_in, type_in_words, unit_of
from mtmoe.config.word_search import names_with_words

REQUIRED, ABSENT, ITS_DEFAULTS = "required", "absent", "its own defaults"


class SettingDescription(NamedTuple):
    """A setting of a recipe, or a table of settings, as people are told of it."""

    key: str
    """Dotted, such as ``model.moe.num_experts``. ``data.train[].name`` is a key of each table of a list, and
    ``data.train[tsv].file`` one of those whose format is tsv."""
    type: str
    """What it takes, in words: ``whole number from 1 to 1,000``, ``one of additive, product``."""
    default: str
    """TOML of the default, or ``required``, ``absent``, and of a table ``its own defaults``."""
    unit: str
    """What a number counts, such as ``steps`` or ``bytes``; else empty."""
    meaning: str
    """A sentence or a few."""
    choices: tuple[str, ...]
    """The words to choose from, if it is one of some words; else empty."""
    is_table: bool
    """Whether it is a table or a list of tables, whose settings follow."""


def describe_settings() -> list[SettingDescription]:
    """Return the description of every table and setting of a recipe, in the order of its definition.

    A table comes before its settings. What several tables have in common is told once: the settings that sources of
    every format have are those of ``data.train[]``, and a second table of the same kind (another file, the sources of
    the dev set) refers to the first.
    """
    return list(_described(Recipe, "", {}))


def find_settings(words: Sequence[str]) -> list[SettingDescription]:
    """Return the descriptions that have all of the words in their key, meaning or choices; all, without words.

    Raises:
        UserError: there are none; it tells the nearest word that there is.
    """
    settings = {setting.key: setting for setting in describe_settings()}
    texts = {key: " ".join((key, it.meaning, *it.choices)) for key, it in settings.items()}
    return [settings[key] for key in names_with_words(texts, words, "setting", "mtmoe settings")]


def _described(
    table: type[Settings], prefix: str, told: dict[type[Settings], str], names: Sequence[str] | None = None
) -> Iterator[SettingDescription]:
    """Yield the settings of a table, or those of them that are named; ``told`` has the key of each table told of."""
    for name, field in table.model_fields.items():
        if names is None or name in names:
            key, tables = f"{prefix}{name}", list(tables_in(field.annotation))
            yield from _of_tables(key, field, tables, told) if tables else (_of_field(key, field),)


def _of_tables(
    key: str, field: FieldInfo, tables: list[type[Settings]], told: dict[type[Settings], str]
) -> Iterator[SettingDescription]:
    """Yield the description of a setting that is a table, a list of tables or one of several kinds of table."""
    it = _of_field(key, field)._replace(is_table=True, choices=())
    if it.default == ABSENT:  # the field says what there is without the table, and its class what the table is
        it = it._replace(meaning=f"{_first_paragraph(tables[0])} {it.meaning}")
    if tables[0] in told:
        yield it._replace(type=f"{it.type}; as {told[tables[0]]}")
        return
    yield it
    told |= dict.fromkeys(tables, key)
    each = f"{key}[]." if it.type.startswith("list") else f"{key}."
    if len(tables) == 1:
        yield from _described(tables[0], each, told)
        return
    formats = {get_args(table.model_fields["format"].annotation)[0]: table for table in tables}
    yield SettingDescription(
        key=f"{each}format",
        type=f"one of {', '.join(formats)}",
        default=REQUIRED,
        unit="",
        meaning=" ".join(f"{name}: {table.model_fields['format'].description}" for name, table in formats.items()),
        choices=tuple(formats),
        is_table=False,
    )
    shared = [name for name in tables[0].model_fields if len({repr(t.model_fields.get(name)) for t in tables}) == 1]
    yield from _described(tables[0], each, told, shared)
    for name, table in formats.items():
        own = [name for name in table.model_fields if name not in (*shared, "format")]
        yield from _described(table, f"{key}[{name}].", told, own)


def _of_field(key: str, field: FieldInfo) -> SettingDescription:
    return SettingDescription(
        key=key,
        type=type_in_words(field),
        default=_default(field),
        unit=unit_of(field),
        meaning=field.description or "",
        choices=choices_of(field.annotation),
        is_table=False,
    )


def _first_paragraph(table: type[Settings]) -> str:
    return " ".join((table.__doc__ or "").partition("\n\n")[0].replace("``", "").split())


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return REQUIRED
    if field.default is None:
        return ABSENT
    return ITS_DEFAULTS if isinstance(field.default, Settings) else json.dumps(field.default, ensure_ascii=False)
