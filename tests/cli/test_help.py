"""What `mtmoe --help` promises: every command and option explained, at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner
from mtmoe.cli import main


def _commands(
    group: click.Group = main, prefix: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*prefix, name), command
        if isinstance(command, click.Group):
            yield from _commands(command, (*prefix, name))


COMMANDS = dict(_commands())
NAMES = [" ".join(path) for path in COMMANDS]


def test_there_is_a_command_for_every_part_of_the_job() -> None:
    expected = {
        "init",
        "recipes",
        "describe",
        "settings",
        "fetch",
        "filter",
        "preprocess",
        "train",
        "translate",
        "explain",
        "serve",
        "add-key",
        "synthesise",
        "report",
        "compare",
        "score",
        "bleu",
        "calibrate",
        "tune-decoding",
        "package",
        "push",
        "pull",
        "average",
        "export",
        "plan",
        "doctor",
    }
    of_groups = {"bench": ("train", "moe", "memory", "translate"), "experts": ("prune", "merge", "grow")}
    expected |= {" ".join(filter(None, (group, name))) for group, names in of_groups.items() for name in ("", *names)}
    assert expected == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_a_help_text(name: str) -> None:
    command = COMMANDS[tuple(name.split())]
    assert command.help
    first_sentence = command.get_short_help_str(limit=200)
    assert first_sentence.endswith(".")
    assert len(first_sentence) <= 68, "does not fit into the list of commands on 80 columns"
    result = CliRunner().invoke(main, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: main {name}")


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_help_text(name: str) -> None:
    for parameter in COMMANDS[tuple(name.split())].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{parameter.opts} of mtmoe {name}"
            sentence, _, _ = parameter.help.partition("  [default: ")
            assert sentence.endswith("."), f"{parameter.opts} of mtmoe {name}"


def test_help_is_instant_because_it_imports_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "sentencepiece", "sacrebleu", "datasets", "rich", "pydantic")
    program = (
        "import sys\n"
        "from mtmoe.cli import main\n"
        "try:\n    main(['train', '--help'])\n"
        f"except SystemExit:\n    print('imported:', [name for name in {heavy!r} if name in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.endswith("imported: []\n")


def test_python_m_mtmoe_is_the_same_command_line() -> None:
    result = subprocess.run([sys.executable, "-m", "mtmoe", "--version"], capture_output=True, text=True, check=True)
    from mtmoe import __version__

    assert result.stdout == f"mtmoe {__version__}\n"


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["trian"])
    assert result.exit_code == 2
    assert "No such command 'trian'" in result.stderr
