"""Stages of a network in the order of the forward pass: the units that the plan counts.

The network is built on the meta device: its parameters have shapes and no memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from torch import nn

from mtmoe.config import Recipe
from mtmoe.model.building import meta_model
from mtmoe.model.language_model import LanguageModel
from mtmoe.model.moe.moe_layer import MixtureOfExperts
from mtmoe.model.parameter_roles import parameter_roles
from mtmoe.model.translation import TranslationModel

Kind = Literal["embedding", "lstm", "attention", "gate", "experts", "shared experts", "dense", "output"]
Side = Literal["source", "target"]


class Stage(NamedTuple):
    """One part of the forward pass.

    parameters: by name, those that no earlier stage uses; a shared matrix belongs to one stage alone.
    operations: multiply-adds of one token of its side, forward, as `mtmoe describe` counts them.
    looped: for an LSTM that goes step by step in Python, since its input needs the step before.
    input_width: D of an LSTM's input. has_context: whether the attention's context is part of that input.
    sharded: the names of the parameters that are spread over processes.
    """

    name: str
    kind: Kind
    side: Side
    parameters: dict[str, nn.Parameter]
    operations: int
    input_width: int = 0
    looped: bool = False
    has_context: bool = False
    sharded: frozenset[str] = frozenset()


def stages_of(recipe: Recipe, vocabulary_size: int) -> list[Stage]:
    """Return all stages from the source to the loss. Each parameter of the network is in exactly one of them."""
    model = meta_model(recipe, vocabulary_size)
    sharded = parameter_roles(model).sharded
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    walk = _language_model(model) if isinstance(model, LanguageModel) else _translation(model)
    taken: set[int] = set()
    stages = []
    for stage, modules in walk:
        own = {}
        for parameter in (p for module in modules for p in _parameters(module)):
            if id(parameter) not in taken:
                own[names[id(parameter)]] = parameter
                taken.add(id(parameter))
        stages.append(stage._replace(parameters=own, sharded=sharded.intersection(own)))
    return stages


_Walk = Iterator[tuple[Stage, list[nn.Module | nn.Parameter]]]


def _parameters(module: nn.Module | nn.Parameter) -> list[nn.Parameter]:
    """Return the parameters of a module, or the parameter itself."""
    return [module] if isinstance(module, nn.Parameter) else list(module.parameters())


def _matrix_elements(module: nn.Module) -> int:
    """Return the number of elements of a module's matrices, which is its multiply-adds for a token."""
    return sum(p.numel() for p in module.parameters() if p.dim() > 1)


def _language_model(model: LanguageModel) -> _Walk:
    """Yield the stages of a language model, each with its modules."""
    yield Stage("embedding", "embedding", "target", {}, 0), [model.embedding_VD]
    for place, layer in enumerate(model.layers, start=1):
        width = model.settings.width
        looped = bool(layer.is_looped)
        yield _lstm(f"lstm {place}", layer, "target", width, looped), [layer]
        yield from _mixture(f"moe {place}", model.moe_layers, place, "target")
    mixture = model.softmax_mixture
    operations = model.settings.softmaxes * model.output_VD.numel()
    if mixture is None:
        yield Stage("output", "output", "target", {}, operations), [model.output_VD]
    else:
        yield (
            Stage("output", "output", "target", {}, operations + _matrix_elements(mixture)),
            [model.output_VD, mixture],
        )


def _translation(model: TranslationModel) -> _Walk:
    """Yield the stages of a translation model, each with its modules."""
    encoder, decoder, width = model.encoder, model.decoder, model.settings.width
    yield Stage("source embedding", "embedding", "source", {}, 0), [model.source_embedding_VD]
    bottom = encoder.bottom
    for direction, layer in (("forward", bottom.forward_direction), ("backward", bottom.backward_direction)):
        stage = _lstm(f"encoder 1 {direction}", layer, "source", width, bool(layer.is_looped))
        yield stage, [layer]
    yield from _mixture("encoder moe 1", encoder.moe_layers, 1, "source")
    for place, upper in enumerate(encoder.upper, start=2):
        input_width = 2 * width if encoder.wide and place == 2 else width
        yield _lstm(f"encoder {place}", upper, "source", input_width, bool(upper.is_looped)), [upper]
        yield from _mixture(f"encoder moe {place}", encoder.moe_layers, place, "source")

    yield Stage("target embedding", "embedding", "target", {}, 0), [model.target_embedding_VD]
    attention = Stage("attention", "attention", "target", {}, _matrix_elements(decoder.attention))
    if decoder.recurrent:
        yield attention, [decoder.attention]
    yield _with_context(
        decoder.bottom,
        "decoder 1",
        width,
        decoder.recurrent,
        looped=bool(decoder.recurrent or decoder.bottom.is_looped),
    )
    if not decoder.recurrent:
        yield attention, [decoder.attention]
    yield from _mixture("decoder moe 1", decoder.moe_layers, 1, "target")
    for place, upper in enumerate(decoder.upper, start=2):
        yield _with_context(upper, f"decoder {place}", width, decoder.context_above, looped=bool(upper.is_looped))
        yield from _mixture(f"decoder moe {place}", decoder.moe_layers, place, "target")
    if decoder.output_attention is not None:
        operations = _matrix_elements(decoder.output_attention)
        yield Stage("output attention", "attention", "target", {}, operations), [decoder.output_attention]
    yield Stage("output", "output", "target", {}, model.output_VD.numel()), [model.output_VD]


def _lstm(name: str, layer: nn.Module, side: Side, input_width: int, looped: bool) -> Stage:
    """Return the stage of an LSTM layer."""
    return Stage(name, "lstm", side, {}, _matrix_elements(layer), input_width, looped)


def _with_context(
    layer: nn.Module, name: str, width: int, has_context: bool, *, looped: bool
) -> tuple[Stage, list[nn.Module | nn.Parameter]]:
    """Return the stage of a decoder's LSTM layer, whose input may have the attention's context, and its module."""
    stage = _lstm(name, layer, "target", 2 * width if has_context else width, looped)
    return stage._replace(has_context=has_context), [layer]


def _mixture(name: str, moe_layers: nn.ModuleDict, place: int, side: Side) -> _Walk:
    """Yield the stages of the mixture after a layer, or its dense twin; nothing where there is neither."""
    if str(place) not in moe_layers:
        return
    module = moe_layers[str(place)]
    if not isinstance(module, MixtureOfExperts):
        yield Stage(name, "dense", side, {}, _matrix_elements(module)), [module]
        return
    gate = module.gate
    yield Stage(f"{name} gate", "gate", side, {}, gate.operations), [gate]
    shared = _matrix_elements(module.shared) if module.shared is not None else 0
    operations = module.operations - gate.operations - shared
    yield Stage(f"{name} experts", "experts", side, {}, operations), [module.experts]
    if module.shared is not None:
        yield Stage(f"{name} shared experts", "shared experts", side, {}, shared), [module.shared]
