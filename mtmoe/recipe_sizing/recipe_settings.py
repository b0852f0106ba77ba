"""The settings of a recipe that `mtmoe init` writes, as plain data under the settings' names."""

from __future__ import annotations

from typing import Any, NamedTuple

from mtmoe.recipe_sizing.sizing_rules import Shape, Steps

_TRANSLATED_FOR_BLEU = 200


class Choice(NamedTuple):
    """Everything about a recipe that depends on the text, the time or the machine.

    bleu_tokeniser: empty, where that of the language is installed.
    """

    valid_pairs: int
    test_pairs: int
    vocabulary_size: int
    character_coverage: float
    shape: Shape
    dropout: float
    batch_tokens: int
    steps: Steps
    max_characters: int
    max_length_ratio: float
    bleu_tokeniser: str


def recipe_settings(name: str, data: dict[str, Any], choice: Choice) -> dict[str, Any]:
    """Return the recipe of a choice.

    Args:
        data: `source_language`, `target_language` and `train` of its table `data`.
    """
    return {
        "name": name,
        "data": {
            "source_language": data["source_language"],
            "target_language": data["target_language"],
            "valid": "split",
            "test": "split",
            "train": data["train"],
            "held_out": {"valid_pairs": choice.valid_pairs, "test_pairs": choice.test_pairs},
            "cleaning": {
                "max_characters": choice.max_characters,
                "max_length_ratio": choice.max_length_ratio,
                "on_invalid_utf8": "skip",
            },
            "augmentation": {},
        },
        "subwords": {
            "vocabulary_size": choice.vocabulary_size,
            "character_coverage": choice.character_coverage,
        },
        "model": _model(choice),
        "training": _training(choice),
        "decoding": {"length_alpha": 1.0, "coverage_beta": 0.0},
    }


def _model(choice: Choice) -> dict[str, Any]:
    shape = choice.shape
    return {
        "width": shape.width,
        "encoder_layers": shape.layers,
        "decoder_layers": shape.layers,
        "encoder_moe_after": [1],
        "decoder_moe_after": [1],
        "encoder_bottom": "sum",
        "output_attention": True,
        "tied_embeddings": "none",
        "dropout": choice.dropout,
        "moe": {
            "num_experts": shape.num_experts,
            "experts_per_token": shape.experts_per_token,
            "expert_hidden": shape.expert_hidden,
        },
    }


def _training(choice: Choice) -> dict[str, Any]:
    steps = choice.steps
    validation: dict[str, Any] = {
        "every_steps": steps.validate_every,
        "translate_sentences": min(_TRANSLATED_FOR_BLEU, choice.valid_pairs),
    }
    if choice.bleu_tokeniser:
        validation["bleu_tokeniser"] = choice.bleu_tokeniser
    return {
        "max_steps": steps.max_steps,
        "batch_tokens": choice.batch_tokens,
        "learning_rate": choice.shape.learning_rate,
        "clip_norm": 1.0,
        "save_every_steps": steps.validate_every,
        "schedule": {"kind": "cosine", "warmup_steps": steps.warmup_steps},
        "validation": validation,
    }
