"""Every number that an option takes has bounds, and nan is none."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner
from mtmoe.cli import main


def _options(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Parameter]]:
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _options(inner, (*path, name))
    else:
        for parameter in command.params:
            yield path, parameter


NUMBERS = [
    (path, option)
    for path, option in _options(main)
    if isinstance(option.type, click.types.IntParamType | click.types.FloatParamType)
]


def test_all_commands_are_walked() -> None:
    assert len(NUMBERS) > 25
    assert {path[0] for path, _ in NUMBERS} >= {"translate", "plan", "bench", "average", "preprocess"}


@pytest.mark.parametrize(("path", "option"), NUMBERS, ids=lambda value: str(getattr(value, "name", value)))
def test_a_number_beyond_its_bounds_is_wrong_usage(path: tuple[str, ...], option: click.Parameter) -> None:
    kind = option.type
    assert isinstance(kind, click.IntRange | click.FloatRange)
    assert kind.min is not None
    assert kind.max is not None
    for value in (
        str(kind.min - 1),
        str(kind.max + 1),
        str(10**30),
        "1e308",
        "nan",
        "inf",
        "-inf",
        "x",
        "",
        "9" * 5000,
    ):
        result = CliRunner().invoke(main, [*path, f"{option.opts[0]}={value}"])
        assert result.exit_code == 2, value
        assert f"'{option.opts[0]}'" in result.stderr, value
