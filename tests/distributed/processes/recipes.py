"""Small recipes for groups of processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mtmoe.config import Recipe, recipe_from_dict

RUNNING_ROWS, RUNNING_STEPS = 5, 4
TWO_LEVELS = {
    "num_experts": 12,
    "experts_per_token": 4,
    "hierarchy": {"groups": 4, "groups_per_token": 2},
}  # of model.moe


def small_recipe(
    expert_processes: int = 0,
    moe: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    **training: Any,
) -> Recipe:
    """Two MoE layers of six experts; of 0 ``expert_processes`` the recipe says nothing."""
    text = {"name": "a", "format": "text", "source_file": {"path": "a"}, "target_file": {"path": "b"}}
    gate = {"gate": "noisy-top-k", "load_loss_weight": 0.1} if "gate" not in (moe or {}) else {}
    experts = {"num_experts": 6, "experts_per_token": 2, "expert_hidden": 8, "importance_loss_weight": 0.1}
    sides = {"encoder_moe_after": [1], "decoder_moe_after": [1]}
    if (moe or {}).get("gate") == "expert-choice":  # for encoders alone
        sides = {"encoder_moe_after": [1, 2]}
    settings = {
        "name": "small",
        "seed": 3,
        "data": {"source_language": "en", "target_language": "fr", "train": [text], "valid": "split", "test": "split"},
        "model": {
            "width": 8,
            **sides,
            "dropout": 0.2,
            "moe": {**experts, **gate, **(moe or {})},
            **(model or {}),
        },
        "training": {
            "max_steps": 50,
            "batch_tokens": 256,
            "max_tokens_per_sentence": 60,
            "learning_rate": 0.01,
            "precision": "fp32",
            "clip_norm": 1.0,
            "schedule": {"kind": "constant", "warmup_steps": 0},
            **({"distributed": {"expert_processes": expert_processes}} if expert_processes else {}),
            **training,
        },
    }
    return recipe_from_dict(settings, Path("small.toml"))


def language_model(expert_processes: int = 0, model: dict[str, Any] | None = None, **training: Any) -> Recipe:
    """The same mixture in a language model on running text."""
    penalties = {key: training.pop(key) for key in list(training) if key.startswith("activation_")}
    settings = json.loads(small_recipe(expert_processes, **training).model_dump_json(exclude_defaults=True))
    settings["model"] |= model or {}
    del settings["data"]["source_language"], settings["model"]["encoder_moe_after"]
    del settings["training"]["max_tokens_per_sentence"]
    text = {"name": "a", "format": "lines", "file": {"path": "a"}}
    settings |= {"task": "language-model", "data": settings["data"] | {"train": [text]}}
    settings["training"] |= {
        **penalties,
        "bptt_steps": RUNNING_STEPS,
        "batch_tokens": RUNNING_ROWS * RUNNING_STEPS,
        "validation": {"metric": "perplexity", "translate_sentences": 0},
    }
    return recipe_from_dict(settings, Path("small.toml"))
