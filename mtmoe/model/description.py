"""What a network costs, from its settings alone: parameters and operations of each layer.

Operations are multiply-adds of one source and one target token in the forward pass (one multiply-add is 1,
spec 5.5, 5.6 and 6.10): every weight matrix that a token meets, with k of the n experts and, of two levels of
gating, the gates of the token's groups; with strict balancing these are the means. Left out, as in the paper's
counts: biases, and the attention's scores and context, which depend on the length of the source.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from mtmoe.config.settings import Model
from mtmoe.model.feed_forward import MixtureOfExperts
from mtmoe.model.translation import TranslationModel


class LayerDescription(NamedTuple):
    """One layer: its name, what it is, and what it costs."""

    name: str
    kind: str
    num_parameters: int
    operations: int


class ModelDescription(NamedTuple):
    """All layers from source to output; the last one is the output layer."""

    layers: list[LayerDescription]

    @property
    def num_parameters(self) -> int:
        """Parameters of all layers; what is shared is counted once."""
        return sum(layer.num_parameters for layer in self.layers)

    @property
    def operations(self) -> int:
        """Operations per timestep with the output layer, as the paper counts translation models."""
        return sum(layer.operations for layer in self.layers)

    @property
    def operations_without_output(self) -> int:
        """Operations per timestep without the output layer, as the paper counts language models."""
        return self.operations - self.layers[-1].operations


def describe_model(settings: Model, vocabulary_size: int) -> ModelDescription:
    """Describe the network that these settings make; takes no memory for its weights."""
    with torch.device("meta"):
        model = TranslationModel(settings, vocabulary_size)
    matrix = vocabulary_size * settings.width
    tied = settings.tied_embeddings
    size = f"{vocabulary_size} x {settings.width}"
    shared = {"all": "source, target and output share it", "target": "target and output share it", "none": ""}[tied]
    layers = []
    if tied != "all":
        layers.append(LayerDescription("source embedding", size, matrix, 0))
    layers += _encoder_layers(model, settings)
    target = "embedding" if tied == "all" else "target embedding"
    layers.append(LayerDescription(target, f"{size}; {shared}" if shared else size, matrix, 0))
    layers += _decoder_layers(model, settings)
    layers.append(LayerDescription("output", size, matrix if tied == "none" else 0, matrix))
    return ModelDescription(layers)


def _encoder_layers(model: TranslationModel, settings: Model) -> list[LayerDescription]:
    lstm = _lstm_kind(settings)
    bottom = f"bidirectional {lstm}, {settings.encoder_bottom}"
    encoder = model.encoder
    modules = [(bottom, encoder.bottom), *((lstm, layer) for layer in encoder.upper)]
    return _stack("encoder", modules, encoder.mixtures, settings)


def _decoder_layers(model: TranslationModel, settings: Model) -> list[LayerDescription]:
    decoder = model.decoder
    kind = f"{settings.attention}, {settings.attention_context}, width {settings.attention_width or settings.width}"
    attention = _layer("attention", kind, decoder.attention)
    lstm = _lstm_kind(settings)
    modules = [(lstm, layer) for layer in (decoder.bottom, *decoder.upper)]
    layers = [attention, *_stack("decoder", modules, decoder.mixtures, settings)]
    if decoder.output_attention is not None:
        layers.append(_layer("output attention", settings.attention, decoder.output_attention))
    return layers


def _stack(
    side: str, modules: list[tuple[str, nn.Module]], mixtures: nn.ModuleDict, settings: Model
) -> list[LayerDescription]:
    layers = []
    for place, (kind, module) in enumerate(modules, start=1):
        layers.append(_layer(f"{side} {place}", kind, module))
        if str(place) in mixtures:
            layers.append(_layer(f"{side} moe {place}", _mixture_kind(settings), mixtures[str(place)]))
    return layers


def _layer(name: str, kind: str, module: nn.Module) -> LayerDescription:
    return LayerDescription(name, kind, sum(p.numel() for p in module.parameters()), _operations(module))


def _operations(module: nn.Module) -> int:
    if isinstance(module, MixtureOfExperts):
        gate = module.gate
        return gate.operations + _matrix_elements(module.experts) * gate.experts_per_token // gate.num_experts
    return _matrix_elements(module)


def _matrix_elements(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.dim() > 1)


def _lstm_kind(settings: Model) -> str:
    hidden = settings.lstm_hidden or settings.width
    projection = f" projected to {settings.width}" if hidden != settings.width else ""
    return f"LSTM {hidden}{projection}"


def _mixture_kind(settings: Model) -> str:
    moe = settings.moe
    k = moe.experts_per_token_in_all
    if moe.kind == "dense":
        return f"dense {k * moe.expert_hidden}"
    groups = f" in {moe.hierarchy.groups} groups" if moe.hierarchy else ""
    gate = "" if moe.gate == "noisy-top-k" else f", {moe.gate}"
    return f"{moe.num_experts} experts of {moe.expert_hidden}{groups}, {k} per token{gate}"
