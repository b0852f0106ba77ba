"""Description of a network from its settings alone: parameters and operations of each layer.

Operations are multiply-adds of one source and one target token in the forward pass (one multiply-add is 1;
`docs/explanation/paper.md#counting`): every weight matrix that a token meets, with k of the n experts and, of two
levels of gating, the gates of the token's groups; with strict balancing these are the means. Left out, as in the
paper's counts: biases, and the attention's scores and context, which depend on the length of the source.

The paper has two rules (`docs/explanation/paper.md#decision-16`). Its language models are counted as they are trained,
without the output layer; the figures of its translation models come out as they translate: with the output layer,
without the matrices of the gates' noise. Its parameters are those of matrices, without biases. What does not come out
is named in tests/model/test_paper.py.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from mtmoe.config import Recipe
from mtmoe.config.settings import Model
from mtmoe.model.language_model import LanguageModel
from mtmoe.model.moe.moe_layer import MixtureOfExperts
from mtmoe.model.ops.shapes_alone import shapes_alone
from mtmoe.model.translation import TranslationModel


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
    """Describe the language model that these settings make; takes no memory for its weights."""
    with shapes_alone():
        model = LanguageModel(settings, vocabulary_size)
    tied = settings.tied_embeddings != "none"
    lstm = _lstm_kind(settings)
    layers = [_embedding_layer("embedding", vocabulary_size, settings.width, "the output shares it" if tied else "")]
    layers += _stack("decoder", [(lstm, layer) for layer in model.layers], model.moe_layers, settings)
    layers.append(_output_layer(vocabulary_size, settings.width, tied))
    return ModelDescription(layers, _shared_once(layers))


def describe_model(settings: Model, vocabulary_size: int) -> ModelDescription:
    """Describe the translation model that these settings make; takes no memory for its weights."""
    with shapes_alone():
        model = TranslationModel(settings, vocabulary_size)
    tied, width = settings.tied_embeddings, settings.width
    shared = {"all": "source, target and output share it", "target": "target and output share it", "none": ""}[tied]
    layers = []
    if tied != "all":
        layers.append(_embedding_layer("source embedding", vocabulary_size, width, ""))
    layers += _encoder_layers(model, settings)
    target = "embedding" if tied == "all" else "target embedding"
    layers.append(_embedding_layer(target, vocabulary_size, width, shared))
    layers += _decoder_layers(model, settings)
    layers.append(_output_layer(vocabulary_size, width, tied != "none"))
    return ModelDescription(layers, _shared_once(layers))


def _embedding_layer(name: str, vocabulary_size: int, width: int, shared: str) -> LayerDescription:
    size, matrix = f"{vocabulary_size} x {width}", vocabulary_size * width
    return LayerDescription(name, f"{size}; {shared}" if shared else size, matrix, 0, matrix)


def _output_layer(vocabulary_size: int, width: int, tied: bool) -> LayerDescription:
    matrix = vocabulary_size * width
    own = 0 if tied else matrix
    return LayerDescription("output", f"{vocabulary_size} x {width}", own, matrix, own)


def _shared_once(layers: list[LayerDescription]) -> int:
    return sum(layer.num_parameters for layer in layers if "embedding" in layer.name or layer.name == "output")


def _encoder_layers(model: TranslationModel, settings: Model) -> list[LayerDescription]:
    lstm = _lstm_kind(settings)
    bottom = f"bidirectional {lstm}, {settings.encoder_bottom}"
    encoder = model.encoder
    modules = [(bottom, encoder.bottom), *((lstm, layer) for layer in encoder.upper)]
    return _stack("encoder", modules, encoder.moe_layers, settings)


def _decoder_layers(model: TranslationModel, settings: Model) -> list[LayerDescription]:
    decoder = model.decoder
    kind = f"{settings.attention}, {settings.attention_context}, width {settings.attention_units}"
    attention = _layer("attention", kind, decoder.attention)
    lstm = _lstm_kind(settings)
    modules = [(lstm, layer) for layer in (decoder.bottom, *decoder.upper)]
    layers = [attention, *_stack("decoder", modules, decoder.moe_layers, settings)]
    if decoder.output_attention is not None:
        layers.append(_layer("output attention", settings.attention, decoder.output_attention))
    return layers


def _stack(
    side: str, modules: list[tuple[str, nn.Module]], moe_layers: nn.ModuleDict, settings: Model
) -> list[LayerDescription]:
    layers = []
    for place, (kind, module) in enumerate(modules, start=1):
        layers.append(_layer(f"{side} {place}", kind, module))
        if str(place) in moe_layers:
            layers.append(_layer(f"{side} moe {place}", _mixture_kind(settings), moe_layers[str(place)]))
    return layers


def _layer(name: str, kind: str, module: nn.Module) -> LayerDescription:
    noise = module.gate.noise_operations if isinstance(module, MixtureOfExperts) else 0
    num_parameters = sum(p.numel() for p in module.parameters())
    return LayerDescription(name, kind, num_parameters, _operations(module), _matrix_elements(module), noise)


def _operations(module: nn.Module) -> int:
    return module.operations if isinstance(module, MixtureOfExperts) else _matrix_elements(module)


def _matrix_elements(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.dim() > 1)


def _lstm_kind(settings: Model) -> str:
    hidden = settings.lstm_units
    projected = hidden != settings.width or settings.lstm_projection
    projection = f" projected to {settings.width}" if projected else ""
    return f"LSTM {hidden}{projection}"


def _mixture_kind(settings: Model) -> str:
    moe = settings.moe
    k = moe.experts_per_token
    if moe.kind == "dense":
        return f"dense {k * moe.expert_hidden}" + (f" x {moe.dense_layers}" if moe.dense_layers > 1 else "")
    groups = f" in {moe.hierarchy.groups} groups" if moe.hierarchy else ""
    gate = "" if moe.gate == "noisy-top-k" else f", {moe.gate}"
    return f"{moe.num_experts} experts of {moe.expert_hidden}{groups}, {k} per token{gate}"
