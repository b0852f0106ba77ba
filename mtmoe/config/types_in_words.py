"""Types of settings in the words of a recipe's author: ``whole number, 1 or more``, ``one of additive, product``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from mtmoe.config.settings.base import Settings, Unit

_BEYOND_USE = 1_000_000
"""A greatest value from here on only keeps misspelt numbers out, and is not worth telling."""
_PATTERNS = {
    r"^[A-Za-z0-9_.-]+$": "text of letters, digits and any of _ . -",
    r"^([0-9a-f]{64})?$": "text of 64 hexadecimal digits, or empty",
    r"^\S*$": "text without spaces, or empty",
    "^(..+)?$": "text of 2 letters or more, or empty",
}


def tables_in(annotation: Any) -> Iterator[type[Settings]]:
    """Yield the tables of settings that a type names, at any depth, in their order."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for argument in get_args(annotation):
        yield from tables_in(argument)


def type_in_words(field: FieldInfo) -> str:
    """Return what a setting takes, without its default. That it may be absent is told by the default."""
    return _words(field.annotation, field.metadata)


def choices_of(annotation: Any) -> tuple[str, ...]:
    """Return the words that a setting, or each element of its list, may be; empty if it is not one of some words."""
    if get_origin(annotation) is Literal:
        return tuple(map(str, get_args(annotation)))
    return tuple(choice for argument in get_args(annotation) for choice in choices_of(argument))


def unit_of(field: FieldInfo) -> str:
    """Return the unit that a number is counted in, such as ``steps``; empty where it is none, or a plain number."""
    return next((mark.name for mark in _all_marks(field.annotation, field.metadata) if isinstance(mark, Unit)), "")


def _words(annotation: Any, marks: Iterable[Any]) -> str:
    marks, origin, arguments = list(marks), get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(arguments[0], [*marks, *_flat(annotation.__metadata__)])
    if origin in (Union, UnionType):
        if all(_is_table(argument) for argument in arguments):
            return "table"
        return " or ".join(_words(argument, marks) for argument in arguments if argument is not NoneType)
    if origin is Literal:
        return f"one of {', '.join(map(_choice, arguments))}" if len(arguments) > 1 else f'"{arguments[0]}"'
    if origin is tuple:
        at_least = _bound(marks, "min_length")
        each = _words(arguments[0], [])
        told = f", each {each}" if each.startswith("one of") else f" of {_plural(each)}"
        return f"list{told}{f', {at_least} or more' if at_least else ''}"
    return _plain(annotation, marks)


def _plain(annotation: Any, marks: list[Any]) -> str:
    if _is_table(annotation):
        return "table"
    if annotation is bool:
        return "true or false"
    if annotation is str:
        return _text(_bound(marks, "pattern"), _bound(marks, "min_length") or 0)
    return _with_bounds({int: "whole number", float: "number"}[annotation], marks)


def _text(pattern: str | None, at_least: int) -> str:
    if pattern is not None:
        return _PATTERNS.get(pattern, f"text that matches {pattern}")
    return {0: "text", 1: "text, not empty"}.get(at_least, f"text of {at_least} letters or more")


def _with_bounds(kind: str, marks: list[Any]) -> str:
    least, above = _bound(marks, "ge"), _bound(marks, "gt")
    most, below = _bound(marks, "le"), _bound(marks, "lt")
    if kind == "whole number" and above is not None:
        least, above = above + 1, None
    most = most if most is not None and most < _BEYOND_USE else None
    if least is not None and most is not None:
        told = f" from {_number(least)} to {_number(most)}"
    else:
        bounds = [
            f"{_number(least)} or more" if least is not None else "",
            f"more than {_number(above)}" if above is not None else "",
            f"at most {_number(most)}" if most is not None else "",
            f"less than {_number(below)}" if below is not None else "",
        ]
        told = ", " + " and ".join(filter(None, bounds)) if any(bounds) else ""
    factor = _bound(marks, "multiple_of")
    return f"{kind}{told}{f', a multiple of {factor}' if factor else ''}"


def _plural(words: str) -> str:
    for one, several in (("whole number", "whole numbers"), ("number", "numbers"), ("text", "texts")):
        if words.startswith(one):
            return several + words.removeprefix(one)
    return "tables" if words == "table" else words


def _choice(word: str) -> str:
    return f'"{word}"' if " " in word else word


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}".replace("e-0", "e-")


def _is_table(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Settings)


def _bound(marks: Iterable[Any], name: str) -> Any:
    return next((value for mark in marks if (value := getattr(mark, name, None)) is not None), None)


def _all_marks(annotation: Any, marks: Iterable[Any]) -> Iterator[Any]:
    yield from marks
    yield from _flat(getattr(annotation, "__metadata__", ()))
    for argument in get_args(annotation):
        yield from _all_marks(argument, ())


def _flat(metadata: Iterable[Any]) -> Iterator[Any]:
    """Yield the marks of ``Annotated``, those inside of a ``Field`` too."""
    for mark in metadata:
        yield from mark.metadata if isinstance(mark, FieldInfo) else (mark,)
