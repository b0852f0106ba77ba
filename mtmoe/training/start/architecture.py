"""Architectures of the start run and of the recipe: which may differ, and how.

All layers have to be there in the same sizes. What may differ: dropout; embeddings that were one matrix may be several;
and the feed-forward layers, by the rules of :func:`feed_forward_change`.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

from mtmoe.config import Recipe
from mtmoe.config.settings import MixtureOfExpertsSettings, Model
from mtmoe.errors import UserError

_OF_TRAINING_ALONE = {"dropout", "locked_dropout", "embedding_dropout", "weight_dropout"}
_BY_RULES_OF_THEIR_OWN = {"moe", "encoder_moe_after", "decoder_moe_after", "tied_embeddings", *_OF_TRAINING_ALONE}
_TIES = ("none", "target", "all")  # from many matrices to one
_STANDS_FOR = {
    "lstm_hidden": "lstm_units",
    "attention_width": "attention_units",
    "embedding_std": "embedding_std_or_default",
}
"""Settings of which 0 means another number: the property that has it."""


_SAME_WITHOUT_NOISE = {"noisy-top-k", "softmax"}
"""Gates that choose alike, and give the same values, where no noise is drawn."""


class FeedForwardChange(Enum):
    """What becomes of the start run's feed-forward layers, which are dense or mixtures of experts."""

    NONE = "kept"
    UPCYCLED = "upcycled"
    MORE_EXPERTS = "more experts"


class _Mismatch(Exception):
    """Two settings that do not go together: the key, the start's value, the recipe's, and why they cannot differ."""

    def __init__(self, key: str, old: Any, new: Any, why: str, fix: str = "") -> None:
        super().__init__(key)
        self.key, self.old, self.new, self.why = key, old, new, why
        self.fix = fix or f"--set {key}={_toml(old)}"


def check_architecture(directory: Path, start: Recipe, recipe: Recipe) -> None:
    """Check that a network of the recipe can begin with the weights of the start run.

    Raises:
        UserError: with the first setting by which it cannot, and both values.
    """
    try:
        _check_layers(start.model, recipe.model)
        _check_ties(start.model.tied_embeddings, recipe.model.tied_embeddings)
        _check_places(start.model, recipe.model)
        feed_forward_change(start.model, recipe.model)
    except _Mismatch as found:
        raise UserError(
            f"{directory}: has {found.key} = {_toml(found.old)}, but the recipe has {_toml(found.new)}: {found.why}",
            fix=f"give the network the shape of the start run ({found.fix}), or train it from the beginning",
        ) from None


def _check_layers(old: Model, new: Model) -> None:
    for key in (key for key in Model.model_fields if key not in _BY_RULES_OF_THEIR_OWN):
        name = _STANDS_FOR.get(key, key)
        before, now = getattr(old, name), getattr(new, name)
        if before == now:
            continue
        fewer = key in ("encoder_layers", "decoder_layers") and now < before
        why = "what the layers above it have learned would be lost" if fewer else "its weights have another meaning"
        raise _Mismatch(f"model.{key}", before, now, why)


def _check_ties(old: str, new: str) -> None:
    if _TIES.index(new) > _TIES.index(old):
        raise _Mismatch("model.tied_embeddings", old, new, "one matrix cannot begin as several")


def _check_places(old: Model, new: Model) -> None:
    """Check the places of feed-forward layers: none may go, and a new one has to begin with the output 0."""
    for key in ("encoder_moe_after", "decoder_moe_after"):
        before, now = getattr(old, key), getattr(new, key)
        if set(before) - set(now):
            raise _Mismatch(f"model.{key}", list(before), list(now), "what a layer has learned would be lost")
        if set(now) - set(before) and (new.moe.sigmoid_output or not new.residual):
            why = (
                "a new layer has to begin with the output 0, which it can with model.residual = true and "
                "model.moe.sigmoid_output = false alone"
            )
            raise _Mismatch(f"model.{key}", list(before), list(now), why)


def has_feed_forward(model: Model) -> bool:
    """Return whether any feed-forward layer, dense or a mixture, is in the network."""
    return bool(model.encoder_moe_after or model.decoder_moe_after)


def feed_forward_change(old: Model, new: Model) -> FeedForwardChange:
    """Return what becomes of the feed-forward layers that the start run has.

    A dense layer may become a mixture whose experts are as large as itself: each begins as a copy of it, and as the
    gates of a token sum to 1, the layer computes what it did. Shared experts that are new begin with the output 0, and
    biases on the choice with 0. A mixture may get a multiple of its experts, with a gate
    that draws noise: copies without noise would stay the same for ever.

    Raises:
        _Mismatch: with the first setting by which the layers cannot go on.
    """
    if not has_feed_forward(old):
        return FeedForwardChange.NONE
    before, now = old.moe, new.moe
    if before.sigmoid_output != now.sigmoid_output:
        why = "the layer's output would be another"
        raise _Mismatch("model.moe.sigmoid_output", before.sigmoid_output, now.sigmoid_output, why)
    if before.kind == "dense":
        return _change_of_dense(before, now)
    if now.kind == "dense":
        raise _Mismatch("model.moe.kind", before.kind, now.kind, "many experts cannot begin as one network")
    return _change_of_mixture(before, now)


def _change_of_dense(before: MixtureOfExpertsSettings, now: MixtureOfExpertsSettings) -> FeedForwardChange:
    hidden = before.dense_hidden
    if now.kind == "dense":
        if now.dense_hidden != hidden:
            wanted = f"{now.dense_hidden} hidden units"
            raise _Mismatch(
                "model.moe.expert_hidden", before.expert_hidden, now.expert_hidden, f"{wanted}, not {hidden}"
            )
        if now.dense_layers != before.dense_layers:
            raise _Mismatch("model.moe.dense_layers", before.dense_layers, now.dense_layers, "each has weights")
        return FeedForwardChange.NONE
    if before.dense_layers != 1:
        raise _Mismatch("model.moe.dense_layers", before.dense_layers, 1, "an expert has one hidden layer")
    if now.expert_hidden != hidden:
        of_token = f"experts_per_token x expert_hidden = {before.experts_per_token}"
        if before.shared_experts:
            of_token = f"(experts_per_token + shared_experts) x expert_hidden = {hidden // before.expert_hidden}"
        why = (
            f"each expert begins as a copy of the dense network, which has {of_token} x {before.expert_hidden} = "
            f"{hidden} hidden units"
        )
        fix = f"--set model.moe.expert_hidden={hidden}"
        raise _Mismatch("model.moe.expert_hidden", before.expert_hidden, now.expert_hidden, why, fix)
    if now.has_thresholds:
        why = "with this gate a token may have no expert, and the layer would not compute what the dense one does"
        raise _Mismatch("model.moe.gate", "dense", now.gate, why, "--set model.moe.gate=noisy-top-k")
    if now.gate_scale != 1:
        why = "the gates of a token have to sum to 1 for the layer to compute what the dense one does"
        raise _Mismatch("model.moe.gate_scale", 1.0, now.gate_scale, why)
    return FeedForwardChange.UPCYCLED


def _change_of_mixture(before: MixtureOfExpertsSettings, now: MixtureOfExpertsSettings) -> FeedForwardChange:
    if now.expert_hidden != before.expert_hidden:
        why = "the experts would be of another size"
        raise _Mismatch("model.moe.expert_hidden", before.expert_hidden, now.expert_hidden, why)
    if now.gate != before.gate and not {before.gate, now.gate} <= _SAME_WITHOUT_NOISE:
        raise _Mismatch("model.moe.gate", before.gate, now.gate, "their gates are not the same function")
    if now.gate_scale != before.gate_scale:
        why = "the layer's output would be another"
        raise _Mismatch("model.moe.gate_scale", before.gate_scale, now.gate_scale, why)
    if before.choice_bias_rate and not now.choice_bias_rate:
        why = "without their biases the gates would choose other experts"
        raise _Mismatch("model.moe.choice_bias_rate", before.choice_bias_rate, now.choice_bias_rate, why)
    if before.shared_experts not in (0, now.shared_experts):
        why = "shared experts can be added where there are none; what those have learned would be lost or another"
        raise _Mismatch("model.moe.shared_experts", before.shared_experts, now.shared_experts, why)
    levels = [moe.hierarchy and (moe.hierarchy.groups, moe.hierarchy.groups_per_token) for moe in (before, now)]
    if levels[0] != levels[1]:
        old, new = (level and level[0] for level in levels)
        raise _Mismatch("model.moe.hierarchy.groups", old, new, "the gates are of other groups")
    if now.num_experts == before.num_experts:
        return FeedForwardChange.NONE
    key, values = "model.moe.num_experts", (before.num_experts, now.num_experts)
    if now.num_experts < before.num_experts:
        raise _Mismatch(key, *values, "what the experts that go have learned would be lost")
    if now.num_experts % before.num_experts:
        raise _Mismatch(key, *values, "each expert is copied equally often, so that it has to be a multiple")
    if now.gate != "noisy-top-k":
        why = f'with gate = "{now.gate}", without noise, copies of an expert would stay the same for ever'
        raise _Mismatch(key, *values, why, "--set model.moe.gate=noisy-top-k")
    return FeedForwardChange.MORE_EXPERTS


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "absent" if value is None else str(value) if isinstance(value, str) else repr(value)
