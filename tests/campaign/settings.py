"""Odd settings, options and environments, over all commands."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import click

from tests.campaign.harness import Case
from tests.campaign.setup import Sound

ODD = (
    "0",
    "-1",
    "1",
    "2",
    "nan",
    "inf",
    "-inf",
    "1e308",
    "1e-320",
    "1" + "0" * 30,
    "9" * 5000,
    "true",
    "[]",
    "{}",
    '""',
    "'x'",
    "x",
    "",
    "=",
    "1979-05-27",
    "[1,",
    "\x1b[31m",
    "0.5",
    "[0]",
    "[-1]",
    "9223372036854775807",
    "null",
    "1,2",
    '"\\ud800"',
    "ÿ",
    "10000000000000",
    "None",
    "1000000",
)
_KEYS_LIKE = (
    "max_steps",
    "training",
    "training.",
    ".max_steps",
    "training.max_step",
    "a.b.c.d",
    "TRAINING.MAX_STEPS",
    "",
    "\x1b[0m.x",
)


def setting_keys() -> list[str]:
    """Return the dotted key of every setting that ``--set`` takes."""
    from pydantic import BaseModel

    from mtmoe.config import Recipe

    def keys(model: type[BaseModel], prefix: str) -> Iterator[str]:
        for name, field in model.model_fields.items():
            inner = [part for part in (field.annotation, *getattr(field.annotation, "__args__", ())) if part]
            tables = [part for part in inner if isinstance(part, type) and issubclass(part, BaseModel)]
            for table in tables:
                yield from keys(table, f"{prefix}{name}.")
            yield f"{prefix}{name}"

    return sorted(set(keys(Recipe, "")))


def set_cases(sound: Sound, seed: int, count: int) -> Iterator[Case]:
    """``--set`` with every setting and odd values."""
    generator = random.Random(f"set {seed}")
    keys, recipe, run = setting_keys(), str(sound.recipe), str(sound.run)
    commands: list[Sequence[str]] = [
        ("describe", recipe),
        ("plan", recipe, "--gpus", "2", "--gpu", "h100"),
        ("describe", recipe, "--settings"),
        ("preprocess", recipe, "out"),
        ("train", recipe, "out", "--data", str(sound.data), "--set", "training.max_steps=1"),
        ("plan", recipe, "--gpus", "8", "--gpu", "h100"),
    ]
    for number in range(count):
        key = generator.choice((*keys, *_KEYS_LIKE)) if number >= len(keys) else keys[number]
        command = generator.choice(commands)
        if key.startswith("decoding.") and generator.random() < 0.7:
            command = ("translate", run)
        values = [f"{key}={generator.choice(ODD)}"]
        if generator.random() < 0.2:
            values.append(f"{generator.choice(keys)}={generator.choice(ODD)}")
        if generator.random() < 0.03:
            values = [generator.choice(("", "=", "x", key))]
        arguments = (*command, *(part for value in values for part in ("--set", value)))
        yield Case(f"settings:set:{seed}-{number}", arguments, stdin=b"the red dog runs today\n")


def option_cases(sound: Sound, seed: int, count: int) -> Iterator[Case]:
    """Every option of every command, with odd values."""
    from mtmoe.cli import main

    generator = random.Random(f"option {seed}")
    arguments: dict[str, list[str]] = {
        "recipes": [],
        "settings": ["beam"],
        "describe": [str(sound.recipe)],
        "fetch": [str(sound.recipe)],
        "init": [str(sound.place / "train.en"), str(sound.place / "train.fr")],
        "plan": [str(sound.recipe), "--gpus", "2", "--gpu", "h100"],
        "preprocess": [str(sound.recipe), "out"],
        "translate": [str(sound.run)],
        "score": [str(sound.run), str(sound.place / "test.en"), str(sound.place / "test.fr")],
        "train": [str(sound.recipe), "out", "--data", str(sound.data), "--set", "training.max_steps=1"],
        "bleu": [str(sound.run), "--data", str(sound.data)],
        "average": [str(sound.run)],
        "export": [str(sound.run), "out"],
        "doctor": [],
        "bench moe": ["--experts", "4", "--width", "8", "--hidden", "8", "--tokens", "64"],
        "bench train": [str(sound.recipe), "--data", str(sound.data), "--seconds", "1"],
        "bench translate": [str(sound.run), str(sound.place / "test.en")],
    }
    assert isinstance(main, click.Group)
    options = [
        (name, option)
        for name in arguments
        for option in _command(main, name).params
        if isinstance(option, click.Option) and option.opts[0] not in ("--checkpoint-dir",)
    ]
    for number in range(count):
        name, option = options[number % len(options)]
        given: list[str] = [*arguments[name], option.opts[0]]
        if not option.is_flag:
            given += [
                generator.choice((*ODD, str(sound.run), str(sound.recipe), "nowhere", "/dev/null", "."))
                for _ in range(option.nargs if option.nargs > 0 else 1)
            ]
        if generator.random() < 0.1:
            given.insert(1, generator.choice(ODD))
        if name == "average" and option.is_flag is False and option.opts[0] == "--last":
            given[0] = "nowhere"  # it writes into the run
        yield Case(f"settings:option:{seed}-{number}", (*name.split(), *given), stdin=b"the red dog runs today\n")


def _command(main: click.Group, name: str) -> click.Command:
    first, _, second = name.partition(" ")
    command = main.commands[first]
    if second:
        assert isinstance(command, click.Group)
        return command.commands[second]
    return command


_ENVIRONMENTS: tuple[dict[str, str | None], ...] = (
    {"HOME": None},
    {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"},
    {"COLUMNS": "0"},
    {"COLUMNS": "abc"},
    {"TERM": "dumb"},
    {"RANK": "abc"},
    {"RANK": "5", "WORLD_SIZE": "2"},
    {"WORLD_SIZE": "0", "RANK": "0"},
    {"LOCAL_RANK": "-1", "RANK": "0", "WORLD_SIZE": "1"},
    {"RANK": "0", "WORLD_SIZE": "2"},
    {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "99999"},
    {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "x"},
    {"TMPDIR": "/nowhere"},
    {"OMP_NUM_THREADS": "abc"},
    {"MTMOE_CACHE": "/dev/null"},
    {"MTMOE_CACHE": ""},
    {"NO_COLOR": "1"},
    {"WORLD_SIZE": "-3"},
    {"LOCAL_WORLD_SIZE": "x"},
    {"RANK": "-1", "WORLD_SIZE": "1"},
    {"RANK": "1e3", "WORLD_SIZE": "1e4"},
)


def environment_cases(sound: Sound, seed: int, count: int) -> Iterator[Case]:
    """Odd environments for each command."""
    commands: list[Sequence[Any]] = [
        ("recipes",),
        ("describe", str(sound.recipe)),
        ("plan", str(sound.recipe), "--gpus", "2", "--gpu", "h100"),
        ("translate", str(sound.run)),
        ("doctor",),
        ("train", str(sound.recipe), "out", "--data", str(sound.data), "--set", "training.max_steps=1"),
        ("--help",),
        ("preprocess", str(sound.recipe), "out"),
        ("export", str(sound.run), "out"),
        ("bleu", str(sound.run)),
    ]
    generator = random.Random(f"environment {seed}")
    for number in range(count):
        environment = _ENVIRONMENTS[number % len(_ENVIRONMENTS)]
        command = commands[number // len(_ENVIRONMENTS) % len(commands)]
        if generator.random() < 0.2:
            environment = {**environment, **generator.choice(_ENVIRONMENTS)}
        yield Case(f"settings:environment:{seed}-{number}", tuple(command), stdin=b"the dog\n", environment=environment)


def cases(sound: Sound, seed: int, count: int) -> Iterator[Case]:
    """Yield about ``count`` cases of all kinds."""
    yield from set_cases(sound, seed, count * 5 // 8)
    yield from option_cases(sound, seed, count * 2 // 8)
    yield from environment_cases(sound, seed, count // 8)
