"""Types in words, for fields that no recipe has yet."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field

from mtmoe.config.settings.base import Beam, Settings, Unit
from mtmoe.config.types_in_words import choices_of, tables_in, type_in_words, unit_of


class Inner(Settings):
    """A table."""


class Table(Settings):
    """One field of each kind."""

    flag: bool = Field()
    whole: int = Field(gt=0)
    bounded: int = Field(gt=0, le=9)
    number: float = Field(gt=-1, lt=1)
    plain: float
    limit: float = Field(le=10)
    text: str
    code: str = Field(pattern="^x$")
    words: tuple[Literal["a", "b c"], ...] = Field(min_length=2)
    optional: Beam | None = None
    several: int | Literal["auto"]
    seconds: Annotated[float, Unit("seconds")] = Field(default=1.0, ge=0)
    steps: tuple[Annotated[int, Unit("steps")], ...] = ()
    table: Inner | None = None
    tables: tuple[Inner, ...] = ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("flag", "true or false"),
        ("whole", "whole number, 1 or more"),
        ("bounded", "whole number from 1 to 9"),
        ("number", "number, more than -1 and less than 1"),
        ("plain", "number"),
        ("limit", "number, at most 10"),
        ("text", "text"),
        ("code", "text that matches ^x$"),
        ("words", 'list, each one of a, "b c", 2 or more'),
        ("optional", "whole number from 1 to 1,000"),
        ("several", 'whole number or "auto"'),
        ("seconds", "number, 0 or more"),
        ("steps", "list of whole numbers"),
        ("table", "table"),
        ("tables", "list of tables"),
    ],
)
def test_a_type_is_told_in_words(name: str, words: str) -> None:
    assert type_in_words(Table.model_fields[name]) == words


def test_units_choices_and_tables_are_found_at_any_depth() -> None:
    fields = Table.model_fields
    assert [unit_of(fields[name]) for name in ("seconds", "steps", "whole")] == ["seconds", "steps", ""]
    assert choices_of(fields["words"].annotation) == ("a", "b c")
    assert choices_of(fields["several"].annotation) == ("auto",)
    assert list(tables_in(fields["table"].annotation)) == list(tables_in(fields["tables"].annotation)) == [Inner]
