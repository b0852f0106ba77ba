"""Layer names: what people call the layers of a network, and the parameters that each has.

``embeddings`` are all matrices over the vocabulary, the output layer's too, for they may be one. ``encoder`` and
``decoder`` are their LSTM and MoE layers; ``attention`` is what stands between them. ``encoder.lstm1`` and
``decoder.moe2`` are single layers, counted as ``model.decoder_moe_after`` counts. ``experts`` and ``gates`` are those
of all MoE layers. ``softmaxes`` are what a mixture of softmaxes has beside the output matrix.
"""

from __future__ import annotations

from torch import nn

from mtmoe.model.parameter_roles import parameter_roles

_FIRST_OF_LIST = {"upper": 2, "layers": 1}
"""The number of the first LSTM layer of each list of layers: upper ones have a bottom layer below them."""


def named_layers(model: nn.Module) -> dict[str, frozenset[str]]:
    """Return the names of the parameters of each layer and group of layers, by its name; no entry is empty."""
    layers: dict[str, set[str]] = {}
    for parameter, _ in model.named_parameters():
        layer = layer_of(parameter)
        for name in dict.fromkeys((layer, layer.partition(".")[0])):
            layers.setdefault(name, set()).add(parameter)
    roles = parameter_roles(model)
    found = {name: frozenset(parameters) for name, parameters in layers.items()}
    of_all = {"experts": roles.expert_stacks | roles.shared_experts, "gates": roles.gates}
    return found | {name: parameters for name, parameters in of_all.items() if parameters}


def layer_of(parameter: str) -> str:
    """Return the layer of a parameter by the parameter's name, such as ``encoder.lstm2`` of ``encoder.upper.0...``."""
    if parameter.endswith(("embedding_VD", "output_VD")):
        return "embeddings"
    if parameter.startswith("softmax_mixture."):
        return "softmaxes"
    is_sided = parameter.startswith(("encoder.", "decoder."))
    side, _, inside = (parameter if is_sided else f"decoder.{parameter}").partition(
        "."
    )  # a language model is a decoder
    part, place = inside.split(".")[:2]
    if part in ("attention", "output_attention"):
        return "attention"
    if part == "moe_layers":
        return f"{side}.moe{place}"
    return f"{side}.lstm{1 if part == 'bottom' else int(place) + _FIRST_OF_LIST[part]}"
