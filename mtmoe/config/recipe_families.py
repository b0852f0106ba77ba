"""Families of recipes: the members that a file with a ``[family]`` table stands for, and the settings of each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mtmoe.config.settings.family import Family

_WORD = re.compile(r"\{([A-Za-z_]+)\}")


class Member(NamedTuple):
    """One recipe of a family: a direction, the pair of languages that it belongs to, and a variant (empty for none)."""

    name: str
    pair: str
    source: str
    target: str
    variant: str


def members_of(family: Family) -> dict[str, Member]:
    """Return the members of a family by name: both directions of each pair, each in each variant."""
    variants = dict.fromkeys(size.variant for size in family.sizes) or {"": None}
    members = {}
    for pair in family.pairs:
        one, other = pair.split("-")
        for source, target in ((one, other), (other, one)):
            for variant in variants:
                member = Member("", pair, source, target, variant)
                name = with_words(family.name, _words(family, member)) + (f"-{variant}" if variant else "")
                members[name] = member._replace(name=name)
    return members


def settings_of_member(
    family: Family, member: Member, settings: Mapping[str, Any], origin: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the settings of one member, and for each dotted key its file and line.

    Args:
        settings: of the family's file, without the table ``family``.
        origin: file and line of the keys of the whole file.
    """
    merged, lines = dict(settings), {key: line for key, line in origin.items() if not key.startswith("family")}
    for place, table in _tables_for(family, member):
        merged = merged_settings(merged, table)
        inside = f"{place}."
        own = {key.removeprefix(inside): line for key, line in origin.items() if key.startswith(inside)}
        lines = lines_left(lines, merged, table) | own
    words = _words(family, member)
    return {**_with_words_in_all(merged, words), "name": member.name}, lines


def merged_settings(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of ``base`` with those of ``over`` in their place; tables are merged key by key."""
    result = dict(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged_settings(result[key], value)
        else:
            result[key] = value
    return result


def lines_left(base_lines: Mapping[str, str], base: Any, over: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return the lines of those keys of the base that ``over`` leaves; it replaces a key with all below it."""
    kept = dict(base_lines)
    for key, value in over.items():
        below = base.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            kept = lines_left(kept, below, value, f"{prefix}{key}.")
        else:
            kept = {name: line for name, line in kept.items() if not f"{name}.".startswith(f"{prefix}{key}.")}
    return kept


def _tables_for(family: Family, member: Member) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the tables that a member adds to the file's settings, each with its dotted place, the strongest last."""
    for language in (member.source, member.target):
        if language in family.languages:
            yield f"family.languages.{language}", family.languages[language]
    num_pairs = family.pairs[member.pair]
    fitting = [
        (size.least_pairs, number)
        for number, size in enumerate(family.sizes)
        if size.variant == member.variant and size.least_pairs <= num_pairs
    ]
    if fitting:
        number = max(fitting)[1]
        yield f"family.sizes.{number}.settings", family.sizes[number].settings
    direction = f"{member.source}-{member.target}"
    if direction in family.directions:
        yield f"family.directions.{direction}", family.directions[direction]


def _words(family: Family, member: Member) -> dict[str, str]:
    own = {"pair": member.pair, "source": member.source, "target": member.target}
    own["num_pairs"] = f"{family.pairs[member.pair]:,}"
    given = family.words | own
    return {word: with_words(meaning, given) for word, meaning in given.items()}


def with_words(text: str, words: Mapping[str, str]) -> str:
    """Return the text with the words in braces replaced; what is no word of the family stays as it is."""
    return _WORD.sub(lambda found: words.get(found[1], found[0]), text)


def _with_words_in_all(value: Any, words: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return with_words(value, words)
    if isinstance(value, dict):
        return {key: _with_words_in_all(inner, words) for key, inner in value.items()}
    return [_with_words_in_all(inner, words) for inner in value] if isinstance(value, list) else value
