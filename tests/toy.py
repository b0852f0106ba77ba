"""A toy language pair: a made-up recipe and text that a small model learns in seconds."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from mtmoe.config import Recipe, recipe_from_dict
from mtmoe.data.preparation import prepare

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
