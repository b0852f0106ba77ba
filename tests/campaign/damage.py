"""Damaged runs and data directories: one thing wrong at a time, over every command that reads them."""

from __future__ import annotations

import functools
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.campaign.harness import Case, copy_tree
from tests.campaign.setup import Sound

_ODD: tuple[Any, ...] = (None, -1, 1 << 70, 1.5, "x", [], {}, [[1]], True, "\x1b[31m", float("nan"))


def _files(place: Path) -> list[Path]:
    return sorted(path for name in ("run", "data") for path in (place / name).rglob("*") if path.is_file())


def damage(sound: Sound, seed: int, place: Path) -> None:
    """Copy the sound directories and spoil one file, in a way that depends on the seed alone."""
    for name in ("run", "data"):
        copy_tree(getattr(sound, name), place / name)
    link = place / "run" / "data"
    if link.is_symlink():
        link.unlink()
        link.symlink_to("../data")
    generator = random.Random(seed)
    path = generator.choice(_files(place))
    jsons = [file for file in _files(place) if file.suffix == ".json"]
    kind = generator.randrange(12)
    if kind < 4:
        _spoil_json(generator.choice(jsons), generator)
    elif kind < 7:
        content = bytearray(path.read_bytes() or b"\0")
        for _ in range(generator.choice((1, 1, 20))):
            content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        path.write_bytes(content)
    elif kind == 7:
        os.truncate(path, generator.randrange(path.stat().st_size + 1))
    elif kind == 8:
        path.unlink()
    elif kind == 9:
        path.unlink()
        generator.choice((Path.mkdir, os.mkfifo, lambda gone: gone.symlink_to("nowhere")))(path)  # type: ignore[operator]
    elif kind == 10:
        path.write_bytes(generator.randbytes(generator.choice((0, 3, 1000))))
    else:
        path.write_bytes(path.read_bytes() + generator.randbytes(generator.randint(1, 9)))


def _spoil_json(path: Path, generator: random.Random) -> None:
    whole = json.loads(path.read_text(encoding="utf-8"))
    inner = whole
    while True:
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        if not keys:
            break
        key = generator.choice(keys)
        if isinstance(inner[key], dict | list) and generator.random() < 0.7:
            inner = inner[key]
            continue
        if generator.random() < 0.3:
            del inner[key]
        else:
            inner[key] = generator.choice(_ODD)
        break
    path.write_text(json.dumps(whole), encoding="utf-8")


def cases(sound: Sound, seed: int, count: int) -> Iterator[Case]:
    """Yield ``count`` cases."""
    commands: tuple[tuple[str, ...], ...] = (
        ("translate", "run"),
        ("train", str(sound.recipe), "run", "--resume", "--set", "training.max_steps=6"),
        ("bleu", "run"),
        ("export", "run", "out"),
        ("average", "run", "--last", "2"),
        ("describe", "run"),
        ("doctor", "run"),
        ("train", str(sound.recipe), "new", "--data", "data", "--set", "training.max_steps=1"),
        ("score", "run", "-", str(sound.place / "test.fr")),
        ("translate", "run", "--set", "decoding.shortlist={}"),
        ("preprocess", str(sound.recipe), "data"),
        ("train", str(sound.place / "lm.toml"), "new", "--subwords-of", "run", "--set", "training.max_steps=1"),
    )
    text = (sound.place / "test.en").read_bytes()
    for number in range(count):
        command = commands[number % len(commands)]
        yield Case(
            f"damage:{command[0]}:{seed}-{number}",
            command,
            functools.partial(damage, sound, seed * 1_000_003 + number),
            stdin=text,
        )
