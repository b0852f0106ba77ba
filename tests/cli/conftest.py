"""A tiny recipe on made-up text, and a run of it, through the real commands."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner, Result
from mtmoe.cli import main

Invoke = Callable[..., Result]

_SETTINGS = """
[subwords]
vocabulary_size = 280
[model]
width = 16
tied_embeddings = "none"  # an untrained model with one matrix repeats itself for ever
encoder_moe_after = [1]
moe = { num_experts = 4, expert_hidden = 8 }
[training]
max_steps = 6
batch_tokens = 200
max_tokens_per_sentence = 50
log_every_steps = 2
save_every_steps = 2
keep_last = 3
precision = "fp32"
validation = { every_steps = 3, translate_sentences = 4 }
[decoding]
max_length_ratio = 1.0
"""
_WORDS = ("the", "a", "man", "woman", "dog", "cat", "red", "house", "walks", "runs", "sees", "sleeps", "today")


class TinyRun(NamedTuple):
    """Where the tiny recipe, its text, its prepared data and its run are."""

    folder: Path
    recipe: Path
    data: Path
    run: Path


def _invoke(*arguments: str | Path, input: str | bytes = b"") -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=input)


@pytest.fixture
def invoke() -> Invoke:
    """Run a command in this process."""
    return _invoke


def write_text(folder: Path) -> None:
    """Sentences of a few words, and their words in reverse for a translation."""
    generator = random.Random(1)
    for part, num_pairs in (("train", 200), ("valid", 6), ("test", 8)):
        sources = [[generator.choice(_WORDS) for _ in range(generator.randint(5, 9))] for _ in range(num_pairs)]
        for language, lines in (("en", sources), ("fr", [source[::-1] for source in sources])):
            text = "".join(" ".join(line) + f" {part}\n" for line in lines)
            (folder / f"{part}.{language}").write_text(text, encoding="utf-8")


def recipe_text(folder: Path) -> str:
    """The tiny recipe for the text in ``folder``."""
    lines = ['name = "tiny"', "[data]", 'source_language = "en"', 'target_language = "fr"']
    for part in ("train", "valid", "test"):
        lines += [f"[[data.{part}]]", 'format = "text"', f'name = "{part}"']
        lines += [f'source_file.path = "{folder}/{part}.en"', f'target_file.path = "{folder}/{part}.fr"']
    return "\n".join(lines) + _SETTINGS


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe file with its text beside it."""
    folder = tmp_path_factory.mktemp("tiny")
    write_text(folder)
    path = folder / "tiny.toml"
    path.write_text(recipe_text(folder), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_run(tiny_recipe: Path) -> TinyRun:
    """The tiny recipe, preprocessed and trained for a few steps."""
    tiny = TinyRun(tiny_recipe.parent, tiny_recipe, tiny_recipe.parent / "data", tiny_recipe.parent / "run")
    for arguments in (
        ("preprocess", tiny.recipe, tiny.data, "--workers", 1),
        ("train", tiny.recipe, tiny.run, "--data", tiny.data, "--device", "cpu"),
    ):
        result = _invoke(*map(str, arguments))
        assert result.exit_code == 0, result.stderr
    return tiny
