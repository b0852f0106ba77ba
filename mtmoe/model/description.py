"""Description of a network from its settings alone: parameters and operations of each layer.

Operations are multiply-adds of one source and one target token in the forward pass (one multiply-add is 1;
`docs/explanation/paper.md#counting`): every weight matrix that a token meets, with k of the n experts, the shared ones
and, of two levels of gating, the gates of the token's groups; with strict balancing these are the means. Left out, as
in the paper's counts: biases, and the attention's scores and context, which depend on the length of the source.

The paper has two rules (`docs/explanation/paper.md#decision-16`). Its language models are counted as they are trained,
without the output layer; the figures of its translation models come out as they translate: with the output layer,
without the matrices of the gates' noise. Its parameters are those of matrices, without biases. What does not come out
is named in tests/model/test_paper.py.

It is counted without building the network, and without torch, which takes a second to be imported; the tests compare
it with the networks.
"""

from __future__ import annotations

from typing import NamedTuple

from mtmoe.config import Recipe
from mtmoe.config.settings import Model


class LayerDescription(NamedTuple):
    """One layer: its name, what it is, and what it costs.

    operations: in training. noise_operations: those of them that a gate's noise takes. num_weights: parameters of
    matrices, without biases.
    """

    name: str
    kind: str
    num_parameters: int
    operations: int
    num_weights: int
    noise_operations: int = 0


class ModelDescription(NamedTuple):
    """All layers from source to output; the last one is the output layer.

    num_embedding_parameters: those of embeddings and output layer, shared ones once.
    """

    layers: list[LayerDescription]
    num_embedding_parameters: int

    @property
    def num_parameters(self) -> int:
        """Return the number of parameters of all layers; what is shared is counted once."""
        return sum(layer.num_parameters for layer in self.layers)

    @property
    def num_bytes(self) -> int:
        """Return the bytes of the weights in float32, without an optimizer's moments."""
        return 4 * self.num_parameters

    @property
    def operations(self) -> int:
        """Return the operations per timestep in training, with the output layer."""
        return sum(layer.operations for layer in self.layers)

    @property
    def operations_in_translation(self) -> int:
        """Return the operations with the output layer and without the gates' noise, as the paper counts translation
        models."""
        return self.operations - sum(layer.noise_operations for layer in self.layers)

    @property
    def operations_without_output(self) -> int:
        """Return the operations per timestep without the output layer, as the paper counts language models."""
        return self.operations - self.layers[-1].operations

    @property
    def num_inner_weights(self) -> int:
        """Return the number of parameters without embeddings, output layer and biases, as the paper counts language
        models."""
        return sum(layer.num_weights for layer in self.layers) - self.num_embedding_parameters


def describe_recipe(recipe: Recipe, vocabulary_size: int = 0) -> ModelDescription:
    """Describe a recipe's network, with the recipe's own vocabulary size unless another one is given."""
    describe = describe_language_model if recipe.task == "language-model" else describe_model
    return describe(recipe.model, vocabulary_size or recipe.subwords.vocabulary_size)


def describe_language_model(settings: Model, vocabulary_size: int) -> ModelDescription:
    """Describe the language model that these settings make."""
    tied = settings.tied_embeddings != "none"
    layers = [_embedding_layer("embedding", vocabulary_size, settings.width, "the output shares it" if tied else "")]
    modules = [(_lstm_kind(settings), _lstm(settings, settings.width))] * settings.decoder_layers
    layers += _stack("decoder", modules, settings.decoder_moe_after, settings)
    width, softmaxes = settings.width, settings.softmaxes
    if softmaxes > 1:
        counts = _Counts(softmaxes * (width**2 + width), softmaxes * width)
        layers.append(_layer("softmaxes", f"mixture of {softmaxes}", counts))
    output = _output_layer(vocabulary_size, width, tied)
    layers.append(output._replace(operations=softmaxes * output.operations))
    return ModelDescription(layers, _shared_once(layers))


def describe_model(settings: Model, vocabulary_size: int) -> ModelDescription:
    """Describe the translation model that these settings make."""
    tied, width = settings.tied_embeddings, settings.width
    shared = {"all": "source, target and output share it", "target": "target and output share it", "none": ""}[tied]
    layers = []
    if tied != "all":
        layers.append(_embedding_layer("source embedding", vocabulary_size, width, ""))
    layers += _encoder_layers(settings)
    target = "embedding" if tied == "all" else "target embedding"
    layers.append(_embedding_layer(target, vocabulary_size, width, shared))
    layers += _decoder_layers(settings)
    layers.append(_output_layer(vocabulary_size, width, tied != "none"))
    return ModelDescription(layers, _shared_once(layers))


class _Counts(NamedTuple):
    """Of a layer: parameters of its matrices, those that are none, operations where they are not the matrices', and of
    these the gate's noise."""

    weights: int
    biases: int = 0
    operations: int | None = None
    noise_operations: int = 0


def _embedding_layer(name: str, vocabulary_size: int, width: int, shared: str) -> LayerDescription:
    size, matrix = f"{vocabulary_size} x {width}", vocabulary_size * width
    return LayerDescription(name, f"{size}; {shared}" if shared else size, matrix, 0, matrix)


def _output_layer(vocabulary_size: int, width: int, tied: bool) -> LayerDescription:
    matrix = vocabulary_size * width
    own = 0 if tied else matrix
    return LayerDescription("output", f"{vocabulary_size} x {width}", own, matrix, own)


def _shared_once(layers: list[LayerDescription]) -> int:
    return sum(layer.num_parameters for layer in layers if "embedding" in layer.name or layer.name == "output")


def _encoder_layers(settings: Model) -> list[LayerDescription]:
    width, hidden, lstm = settings.width, settings.lstm_units, _lstm_kind(settings)
    halves = 2 if settings.encoder_bottom == "concatenate" else 1
    direction = _lstm(settings, width, width // halves, hidden // halves)
    bottom = _Counts(2 * direction.weights, 2 * direction.biases)
    modules = [(f"bidirectional {lstm}, {settings.encoder_bottom}", bottom)]
    for place in range(settings.encoder_layers - 1):
        is_above_wide = settings.encoder_bottom == "wide" and place == 0
        modules.append((lstm, _lstm(settings, 2 * width if is_above_wide else width)))
    return _stack("encoder", modules, settings.encoder_moe_after, settings)


def _decoder_layers(settings: Model) -> list[LayerDescription]:
    width, attention_width, lstm = settings.width, settings.attention_units, _lstm_kind(settings)
    kind = f"{settings.attention}, {settings.attention_context}, width {attention_width}"
    layers = [_layer("attention", kind, _Counts(2 * width * attention_width, attention_width))]
    with_context = 2 * width
    bottom_input = width if settings.attention_context == "parallel" else with_context
    upper_input = width if settings.attention_context == "recurrent" else with_context
    inputs = [bottom_input, *[upper_input] * (settings.decoder_layers - 1)]
    modules = [(lstm, _lstm(settings, input_width)) for input_width in inputs]
    layers += _stack("decoder", modules, settings.decoder_moe_after, settings)
    if settings.output_attention:
        counts = _Counts(width * attention_width + width**2, attention_width)
        layers.append(_layer("output attention", settings.attention, counts))
    return layers


def _stack(
    side: str, modules: list[tuple[str, _Counts]], moe_after: tuple[int, ...], settings: Model
) -> list[LayerDescription]:
    layers = []
    for place, (kind, counts) in enumerate(modules, start=1):
        layers.append(_layer(f"{side} {place}", kind, counts))
        if place in moe_after:
            layers.append(_layer(f"{side} moe {place}", _mixture_kind(settings), _feed_forward(settings)))
    return layers


def _layer(name: str, kind: str, counts: _Counts) -> LayerDescription:
    operations = counts.weights if counts.operations is None else counts.operations
    num_parameters = counts.weights + counts.biases
    return LayerDescription(name, kind, num_parameters, operations, counts.weights, counts.noise_operations)


def _lstm(settings: Model, input_width: int, width: int = 0, hidden: int = 0) -> _Counts:
    """Count one direction of a layer: four gates of the input and of what recurs, two biases, a projection, and the
    matrices of a Mogrifier."""
    width, hidden = width or settings.width, hidden or settings.lstm_units
    is_projected = hidden != width or settings.lstm_projection
    projection = width * hidden if is_projected else 0
    mogrifier = settings.mogrifier_rounds * input_width * width
    return _Counts(4 * hidden * (input_width + width) + projection + mogrifier, 8 * hidden)


def _feed_forward(settings: Model) -> _Counts:
    """Count a mixture of experts, or the dense network in its place."""
    width, moe = settings.width, settings.moe
    if moe.kind == "dense":
        hidden = moe.dense_hidden
        return _Counts(2 * width * hidden + (moe.dense_layers - 1) * hidden**2)
    gate, experts = _gate(settings), moe.num_experts * 2 * width * moe.expert_hidden
    shared = moe.shared_experts * 2 * width * moe.expert_hidden
    assert gate.operations is not None
    operations = gate.operations + experts * moe.experts_per_token // moe.num_experts + shared
    return _Counts(gate.weights + experts + shared, gate.biases, operations, gate.noise_operations)


def _gate(settings: Model) -> _Counts:
    """Count a gate: a matrix to all experts, of two levels one to the groups and one to the experts of each, of which a
    token meets those of its groups; as much again for noise; a threshold of each expert where it is balanced
    strictly or experts choose, and a bias where there is one on the choice."""
    width, moe = settings.width, settings.moe
    is_noisy, is_balanced = moe.gate == "noisy-top-k", moe.has_thresholds
    weights = operations = width * moe.num_experts
    vectors = moe.num_experts if is_balanced or moe.choice_bias_rate else 0
    if moe.hierarchy is not None:
        groups = moe.hierarchy.groups
        weights += width * groups
        operations = width * (groups + moe.hierarchy.groups_per_token * moe.num_experts // groups)
        vectors += groups if is_balanced else 0
    noise = operations if is_noisy else 0
    return _Counts(weights * (2 if is_noisy else 1), vectors, operations + noise, noise)


def _lstm_kind(settings: Model) -> str:
    hidden = settings.lstm_units
    projected = hidden != settings.width or settings.lstm_projection
    projection = f" projected to {settings.width}" if projected else ""
    mogrifier = f", {settings.mogrifier_rounds} mogrifier rounds" if settings.mogrifier_rounds else ""
    return f"LSTM {hidden}{projection}{mogrifier}"


def _mixture_kind(settings: Model) -> str:
    moe = settings.moe
    k = moe.experts_per_token
    if moe.kind == "dense":
        return f"dense {moe.dense_hidden}" + (f" x {moe.dense_layers}" if moe.dense_layers > 1 else "")
    groups = f" in {moe.hierarchy.groups} groups" if moe.hierarchy else ""
    gate = "" if moe.gate == "noisy-top-k" else f", {moe.gate}"
    bias = ", bias on the choice" if moe.choice_bias_rate else ""
    shared = f", {moe.shared_experts} shared" if moe.shared_experts else ""
    return f"{moe.num_experts} experts of {moe.expert_hidden}{groups}, {k} per token{shared}{gate}{bias}"
