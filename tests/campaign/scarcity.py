"""Commands that lack something: room, rights, descriptors, memory."""

from __future__ import annotations

import functools
import random
import resource
from collections.abc import Iterator
from pathlib import Path

from tests.campaign.harness import Case
from tests.campaign.setup import Sound


def _full(place: Path) -> None:
    (place / "full").symlink_to("/dev/full")


def cases(sound: Sound, seed: int, count: int) -> Iterator[Case]:
    """Yield ``count`` cases."""
    generator = random.Random(f"scarcity {seed}")
    text = (sound.place / "test.en").read_bytes()
    commands: tuple[tuple[str, ...], ...] = (
        ("translate", str(sound.run)),
        ("preprocess", str(sound.recipe), "out"),
        ("export", str(sound.run), "out"),
        ("train", str(sound.recipe), "out", "--data", str(sound.data), "--set", "training.max_steps=2"),
        ("bleu", str(sound.run)),
        ("describe", str(sound.recipe)),
        ("plan", str(sound.recipe), "--gpus", "2", "--gpu", "h100"),
        ("doctor",),
        ("recipes",),
        ("score", str(sound.run), "-", str(sound.place / "test.fr")),
        ("translate", str(sound.run), "--output", "full"),
        ("export", str(sound.run), "full"),
    )
    for number in range(count):
        command = commands[number % len(commands)]
        kind = number // len(commands) % 3
        if kind == 0:
            limits = {resource.RLIMIT_NOFILE: generator.randint(4, 40)}
        elif kind == 1:
            limits = {resource.RLIMIT_FSIZE: generator.choice((0, 100, 1000, 5000, 20_000, 100_000))}
        else:
            limits = {resource.RLIMIT_AS: generator.choice((1, 2, 3, 4, 6)) * 1_000_000_000}
        yield Case(
            f"scarcity:{command[0]}:{seed}-{number}", command, functools.partial(_full), stdin=text, limits=limits
        )
