"""The settings of a recipe that `mtmoe init` writes, as plain data under the settings' names."""

from __future__ import annotations

from typing import Any, NamedTuple

from mtmoe.recipe_sizing.sizing_rules import Shape, Steps
from mtmoe.recipe_sizing.start_choice import StartChoice

_TRANSLATED_FOR_BLEU = 200
_TRANSLATED_IN_THE_END = 1000  # of both texts together: what few sentences lose says little


class Choice(NamedTuple):
    """Everything about a recipe that depends on the text, the time or the machine.

    valid_pairs, test_pairs: that are held out; 0 where the corpus has a dev or test set of its own.
    shape: of the network, unless it begins with a run.
    bleu_tokeniser: empty, where that of the language is installed.
    start: the run that the training begins with; None: with random weights.
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
    start: StartChoice | None = None

    @property
    def has_own_subwords(self) -> bool:
        """Return whether subwords are learned from the text, and not all taken from a run."""
        return self.start is None or self.start.vocabulary == "extended"


def recipe_settings(name: str, data: dict[str, Any], choice: Choice) -> dict[str, Any]:
    """Return the recipe of a choice.

    Args:
        data: the table `data`: languages, sources, and `valid` and `test`, which are "split" or sources.
    """
    held_out = {"valid_pairs": choice.valid_pairs, "test_pairs": choice.test_pairs}
    settings: dict[str, Any] = {
        "name": name,
        "data": {
            **{key: data[key] for key in ("source_language", "target_language", "valid", "test", "train")},
            "held_out": {key: number for key, number in held_out.items() if number},
            "cleaning": {
                "max_characters": choice.max_characters,
                "max_length_ratio": choice.max_length_ratio,
                "on_invalid_utf8": "skip",
            },
            "augmentation": {},
        },
    }
    if not settings["data"]["held_out"]:
        del settings["data"]["held_out"]
    if choice.has_own_subwords:
        settings["subwords"] = {
            "vocabulary_size": choice.vocabulary_size,
            "character_coverage": choice.character_coverage,
        }
    settings |= {"model": _model(choice), "training": _training(choice), "decoding": _decoding(choice)}
    if choice.start is not None and choice.start.replay_weight:
        settings["data"]["replay"] = {"weight": choice.start.replay_weight}
    return settings


def trial_settings(data: dict[str, Any], choice: Choice) -> dict[str, Any]:
    """Return the recipe of a trial: that of the choice, which begins with random weights and has no other text."""
    settings = recipe_settings("trial", data, choice)
    settings["training"].pop("start", None)
    settings["data"].pop("replay", None)
    if choice.start is not None and not choice.has_own_subwords:
        settings["subwords"] = choice.start.subwords
    return settings


def _decoding(choice: Choice) -> dict[str, Any]:
    return {"length_alpha": 1.0, "coverage_beta": 0.0} if choice.start is None else choice.start.decoding


def _model(choice: Choice) -> dict[str, Any]:
    if choice.start is not None:
        return {**choice.start.model, "dropout": choice.dropout}
    shape = choice.shape
    moe = {"experts_per_token": shape.experts_per_token, "expert_hidden": shape.expert_hidden}
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
        "moe": {"kind": "dense", **moe} if shape.kind == "dense" else {"num_experts": shape.num_experts, **moe},
    }


def _training(choice: Choice) -> dict[str, Any]:
    steps = choice.steps
    validation: dict[str, Any] = {
        "every_steps": steps.validate_every,
        "translate_sentences": min(_TRANSLATED_FOR_BLEU, choice.valid_pairs or _TRANSLATED_FOR_BLEU),
    }
    if choice.bleu_tokeniser:
        validation["bleu_tokeniser"] = choice.bleu_tokeniser
    settings: dict[str, Any] = {
        "max_steps": steps.max_steps,
        "batch_tokens": choice.batch_tokens,
        "learning_rate": choice.shape.learning_rate if choice.start is None else choice.start.learning_rate,
        "clip_norm": 1.0,
        "guided_alignment": {},
        "save_every_steps": steps.validate_every,
        "schedule": {"kind": "cosine", "warmup_steps": steps.warmup_steps},
        "validation": validation,
    }
    if choice.start is not None:
        settings["start"] = {"run": choice.start.run, "vocabulary": choice.start.vocabulary}
        if choice.start.replay_weight:
            settings["start"]["interpolation"] = {
                "most_lost_bleu": 1.0,
                "translate_sentences": _TRANSLATED_IN_THE_END,
            }
    return settings
