"""A toy language pair: a made-up recipe and text that a small model learns in seconds."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from mtmoe.config import Recipe, recipe_from_dict
from mtmoe.data.prepared.preparation import prepare

WORDS = {
    "one": "un", "two": "deux", "red": "rouge", "green": "vert", "cat": "chat", "dog": "chien", "house": "maison",
    "sees": "voit", "eats": "mange", "big": "grand", "old": "vieux", "tree": "arbre",
}  # fmt: skip


def write_text(directory: Path, name: str, num_pairs: int, seed: int) -> dict[str, Any]:
    """Write aligned files of the toy pair (word by word, the order reversed) and return their source table."""
    generator = random.Random(seed)
    sources, targets = [], []
    for _ in range(num_pairs):
        words = generator.sample(list(WORDS), generator.randint(3, 7))
        sources.append(" ".join(words))
        targets.append(" ".join(WORDS[word] for word in reversed(words)))
    for suffix, lines in (("en", sources), ("fr", targets)):
        (directory / f"{name}.{suffix}").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return {
        "name": name,
        "format": "text",
        "source_file": {"path": str(directory / f"{name}.en")},
        "target_file": {"path": str(directory / f"{name}.fr")},
    }


def toy_settings(directory: Path, **training: Any) -> dict[str, Any]:
    """A whole recipe as plain data, with its text written into ``directory``."""
    return {
        "name": "toy",
        "seed": 1,
        "data": {
            "source_language": "en",
            "target_language": "fr",
            "train": [write_text(directory, "train", 1000, seed=1)],
            "valid": [write_text(directory, "valid", 30, seed=2)],
            "test": [write_text(directory, "test", 30, seed=3)],
        },
        "subwords": {"vocabulary_size": 300},
        "model": {
            "width": 32,
            "encoder_moe_after": [1],
            "decoder_moe_after": [1],
            "dropout": 0.1,
            "moe": {"num_experts": 4, "experts_per_token": 2, "expert_hidden": 32},
        },
        "training": {
            "max_steps": 12,
            "batch_tokens": 256,
            "learning_rate": 0.01,
            "schedule": {"kind": "constant", "warmup_steps": 4},
            "validation": {"every_steps": 6, "translate_sentences": 8},
            "log_every_steps": 3,
            "save_every_steps": 4,
            "max_tokens_per_sentence": 60,
            **training,
        },
        "decoding": {"beam_size": 2},
    }


def toy_recipe(directory: Path, **training: Any) -> Recipe:
    """The validated recipe; its text lies in ``directory``."""
    return recipe_from_dict(toy_settings(directory, **training), directory / "toy.toml")


def prepared_toy(directory: Path, **training: Any) -> tuple[Recipe, Path]:
    """(recipe, data directory), prepared."""
    recipe = toy_recipe(directory, **training)
    prepare(recipe, directory / "data", directory / "cache")
    return recipe, directory / "data"


def write_counting(directory: Path, name: str, num_lines: int, seed: int) -> dict[str, Any]:
    """Write lines that count through a ring of words, each going on where the last one ended; some are blank."""
    generator = random.Random(seed)
    ring = list(WORDS)
    lines, place = [], 0
    for _ in range(num_lines):
        length = generator.choice((0, 2, 3, 5, 8))
        lines.append(" ".join(ring[(place + i) % len(ring)] for i in range(length)))
        place += length
    (directory / f"{name}.txt").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return {"name": name, "format": "lines", "file": {"path": str(directory / f"{name}.txt")}}


def counting_settings(directory: Path, **training: Any) -> dict[str, Any]:
    """The recipe of a language model of counting, its text written into ``directory``. Running text unless told."""
    return {
        "name": "counting",
        "task": "language-model",
        "data": {
            "target_language": "en",
            "train": [write_counting(directory, "train", 400, seed=1)],
            "valid": [write_counting(directory, "valid", 30, seed=2)],
            "test": [write_counting(directory, "test", 30, seed=3)],
            "cleaning": {"keep_blank_lines": True, "remove_duplicates": False, "remove_test_overlap": False},
        },
        "subwords": {"algorithm": "word", "byte_fallback": False, "vocabulary_size": 4 + len(WORDS)},
        "model": {
            "width": 16,
            "decoder_moe_after": [1],
            "tied_embeddings": "none",
            "dropout": 0.1,
            "moe": {"num_experts": 4, "experts_per_token": 2, "expert_hidden": 16},
        },
        "training": {
            "max_steps": 12,
            "batch_tokens": 80,
            "bptt_steps": 10,
            "learning_rate": 0.02,
            "label_smoothing": 0.0,
            "schedule": {"kind": "constant", "warmup_steps": 4},
            "validation": {"every_steps": 6, "metric": "perplexity", "translate_sentences": 0},
            "log_every_steps": 3,
            "save_every_steps": 4,
            **training,
        },
    }


def counting_recipe(directory: Path, tables: dict[str, Any] | None = None, **training: Any) -> Recipe:
    """The validated recipe, with other values in its tables."""
    settings = counting_settings(directory, **training)
    for table, values in (tables or {}).items():
        settings[table] = settings[table] | values
    return recipe_from_dict(settings, directory / "counting.toml")
