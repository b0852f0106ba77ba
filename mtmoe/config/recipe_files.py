"""Recipe files: which there are, and the settings of one merged over those of the files that it extends.

A file with a ``[family]`` table stands for many recipes, its members. A member is named as a file of its own would be:
by a name of `mtmoe recipes`, or by a path in the folder of its family. A file of a member's name takes its place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from mtmoe.config.nearest_names import did_you_mean
from mtmoe.config.recipe_families import lines_left, members_of, merged_settings, settings_of_member, with_words
from mtmoe.config.settings.family import Family, Size
from mtmoe.config.toml_text import read_toml
from mtmoe.errors import UserError

_MOST_BASES = 20  # recipes that extend each other in a chain; shipped ones are three
_MOST_FILES_ASKED = 200  # of a folder, for a family that has a member of some name


class Place(NamedTuple):
    """Where a recipe stands: a file, and of a family's file the member."""

    path: Path
    member: str = ""


class ShippedFamily(NamedTuple):
    """A family of recipes that is installed with the package: a sentence on it, and the names of its members."""

    description: str
    members: tuple[str, ...]


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that are installed with the package, members of families among them, sorted."""
    return sorted(_shipped_places())


def shipped_families() -> dict[str, ShippedFamily]:
    """Return the families that are installed with the package, by name."""
    families = {}
    for name, path in _shipped_family_files().items():
        family = _family_of(path)
        members = tuple(member for member in members_of(family) if _shipped_places()[member].path == path)
        if members:
            families[name] = ShippedFamily(with_words(family.description, family.words), members)
    return families


def read_recipe_file(recipe: str | Path) -> tuple[Path, dict[str, Any], dict[str, str]]:
    """Return a recipe's file, its settings over those it extends, and for each dotted key its file and line.

    Args:
        recipe: name of a shipped recipe, or path of a TOML file or of a member of a family beside it.

    Raises:
        UserError: there is none; it is a family; files cannot be read or extend each other in a circle.
    """
    place = _find(recipe)
    settings, origin = _read_with_bases(place, seen=())
    if "family" in settings:
        members = list(members_of(_checked_family(settings["family"], origin, place.path)))
        if not members:
            raise UserError(
                f"{place.path}: is a family without pairs of languages", fix="name a recipe of a family that extends it"
            )
        raise UserError(
            f"{place.path}: is a family of {len(members)} recipes",
            fix=f"name one of them, such as {members[0]}; of a shipped one `mtmoe recipes {place.path.stem}` lists all",
        )
    return place.path, settings, origin


# ----------------------------------------------------------------------------------------------- which there are


@cache
def _shipped_files() -> dict[str, Path]:
    files = resources.files("mtmoe.recipes").iterdir()
    return {f.name.removesuffix(".toml"): Path(str(f)) for f in files if f.name.endswith(".toml")}


@cache
def _shipped_family_files() -> dict[str, Path]:
    return {name: path for name, path in sorted(_shipped_files().items()) if _has_family(path)}


@cache
def _shipped_places() -> dict[str, Place]:
    families = _shipped_family_files()
    members = {name: Place(path, name) for path in families.values() for name in members_of(_family_of(path))}
    return members | {name: Place(path) for name, path in _shipped_files().items() if name not in families}


def _find(recipe: str | Path, *, has_members_beside: bool = True) -> Place:
    """Return the place of a recipe; ``has_members_beside``: whether families of the path's folder are asked, too."""
    path, name = Path(recipe), str(recipe)
    if path.is_file():
        return Place(path)
    places = _shipped_places()
    if path.exists() and name not in places:
        return Place(path)  # a directory, a pipe: reading it tells
    if name in places:
        return places[name]
    if name in _shipped_family_files():
        return Place(_shipped_family_files()[name])
    member = _member_beside(path) if has_members_beside else None
    if member is not None:
        return member
    if path.suffix == ".toml" or len(path.parts) > 1:
        raise UserError(f"{path}: no such recipe file", fix="give the path of a TOML file or a name of `mtmoe recipes`")
    alone = [shipped for shipped, place in places.items() if not place.member]
    raise UserError(
        f"no recipe is named {name!r}{did_you_mean(name, places)}",
        fix=f"shipped recipes: {', '.join(sorted([*alone, *shipped_families()]))}; or give the path of a TOML file",
    )


def _member_beside(path: Path) -> Place | None:
    """Return the member of that name of a family in the folder of the path; None if there is none."""
    name = path.name.removesuffix(".toml")
    try:
        files = sorted(path.parent.glob("*.toml"))[:_MOST_FILES_ASKED]
    except OSError:
        return None
    for file in files:
        try:
            if _has_family(file) and name in members_of(_family_of(file)):
                return Place(file, name)
        except UserError:  # not the recipe that was asked for
            continue
    return None


def _has_family(path: Path) -> bool:
    return "family" in read_toml(path)[0]


def _family_of(path: Path) -> Family:
    settings, origin = _read_with_bases(Place(path), seen=())
    return _checked_family(settings["family"], origin, path)


def _checked_family(table: Any, origin: Mapping[str, str], path: Path) -> Family:
    try:
        return Family.model_validate_json(json.dumps(table, default=str))
    except ValidationError as error:
        details = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        raise _family_error(details[0], origin, path) from None


def _family_error(error: Any, origin: Mapping[str, str], path: Path) -> UserError:
    key = ".".join(("family", *map(str, error["loc"])))
    nearest = next(
        (line for known, line in reversed(list(origin.items())) if f"{key}.".startswith(f"{known}.")), str(path)
    )
    what = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        fields = Size.model_fields if "sizes" in error["loc"] else Family.model_fields
        what = f"unknown setting{did_you_mean(str(error['loc'][-1]), fields)}"
    return UserError(f"{nearest}: {key}: {what}", fix="docs/howto/own-data.md explains families")


# ----------------------------------------------------------------------------------------------- what is in them


def _read_with_bases(place: Place, seen: tuple[Path, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the settings of a file merged over those it extends, and for each dotted key its file and line.

    Of a member they are its own; of a family's file they still have the table ``family``.
    """
    path = place.path
    if path.resolve() in [other.resolve() for other in seen]:  # ./a.toml, a link: one file has many spellings
        chain = " -> ".join(str(p) for p in (*seen, path))
        raise UserError(f"{path}: recipes extend each other in a circle: {chain}", fix="remove one `extend`")
    if len(seen) > _MOST_BASES:
        raise UserError(
            f"{path}: is the base of a base, more than {_MOST_BASES} deep", fix="extend a recipe nearer to it"
        )
    settings, text = read_toml(path)
    origin = {key: f"{path}:{line}" for key, line in _key_lines(text)}
    base_name = settings.pop("extend", None)
    if base_name is not None:
        if not isinstance(base_name, str):
            raise UserError(
                f"{origin.get('extend', path)}: extend = {base_name!r} is not a text",
                fix="name one recipe or file",
            )
        base, base_origin = _read_with_bases(_find_beside(path, base_name), (*seen, path))
        if "family" not in base:
            base.pop("about", None)  # results and hardware of the base are not those of what extends it
        base.pop("name", None)
        origin = lines_left(base_origin, base, settings) | origin
        settings = merged_settings(base, settings)
    if not place.member:
        return settings, origin
    family = _checked_family(settings.pop("family"), origin, path)
    return settings_of_member(family, members_of(family)[place.member], settings, origin)


def _find_beside(path: Path, name: str) -> Place:
    """Return what a file means by ``extend``: a file beside it, or a shipped recipe or file."""
    beside = path.parent / name
    if beside.exists() and not beside.is_dir():
        return Place(beside)
    if name in _shipped_files():  # before their members are known: families extend each other, too
        return Place(_shipped_files()[name])
    return _find(name, has_members_beside=False)


@lru_cache(maxsize=64)
def _key_lines(text: str) -> tuple[tuple[str, int], ...]:
    """Return dotted key and line number of each `key = value` and table header (good enough for messages)."""
    return tuple(_found_key_lines(text))


def _found_key_lines(text: str) -> Iterator[tuple[str, int]]:
    table = ""
    array_counts: dict[str, int] = {}
    for number, raw in enumerate(text.split("\n"), start=1):  # TOML has no other ends of lines
        line = raw.strip()
        if line.startswith("[["):
            name = line.strip("[]").split("]")[0].strip()
            array_counts[name] = array_counts.get(name, -1) + 1
            table = f"{name}.{array_counts[name]}."
            yield f"{name}.{array_counts[name]}", number
        elif line.startswith("[") and "]" in line:
            name = line[1 : line.index("]")].strip()
            for array, count in array_counts.items():
                if name.startswith(array + "."):
                    name = f"{array}.{count}{name[len(array) :]}"
            table = name + "."
            yield name, number
        elif "=" in line and not line.startswith("#"):
            key = line.split("=", 1)[0].strip().strip('"')
            yield table + key, number
