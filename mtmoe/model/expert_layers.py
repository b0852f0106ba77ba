"""The mixture-of-experts layers of a network: found by name, watched, and made to do without an expert.

Letters: M pairs of a token and one of its experts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mtmoe.model.layer_names import layer_of
from mtmoe.model.moe.gating import tokens_per_expert
from mtmoe.model.moe.moe_layer import MixtureOfExperts
from mtmoe.model.moe.routing import Routing

NONE = -1
"""In place of an expert's number, where none is left out."""


class Routed(NamedTuple):
    """One call of a layer's gate: the tokens that it was given, [N, D], and where it sent them."""

    x_ND: Tensor
    routing: Routing


def expert_layers(model: nn.Module) -> dict[str, MixtureOfExperts]:
    """Return the mixture-of-experts layers by the names that they have in logs, in the order of the network."""
    return {
        layer_of(f"{path}.gate"): module
        for path, module in model.named_modules()
        if isinstance(module, MixtureOfExperts)
    }


@contextmanager
def watched(layers: Mapping[str, MixtureOfExperts]) -> Iterator[dict[str, list[Routed]]]:
    """Note what the gates of the layers are given and answer, call by call, for as long as the context lasts."""
    noted: dict[str, list[Routed]] = {name: [] for name in layers}

    def noting(name: str) -> Callable[..., None]:
        def note(_gate: Any, inputs: tuple[Tensor, ...], routing: Routing) -> None:
            noted[name].append(Routed(inputs[0], routing))

        return note

    with ExitStack() as stack:
        for name, layer in layers.items():
            stack.callback(layer.gate.register_forward_hook(noting(name)).remove)
        yield noted


@contextmanager
def without_experts(layers: Mapping[str, MixtureOfExperts], left_out: Mapping[str, int | Tensor]) -> Iterator[None]:
    """Let the gates of the layers choose without an expert, as :func:`without_expert` defines it.

    Args:
        left_out: by the layer's name the number of the expert, or the numbers for each of the tokens that it will be
            given in this context, one call after another ([N], int64; :data:`NONE` where none is left out).
    """

    def changing(experts: int | Tensor) -> Callable[..., Routing]:
        num_done = 0

        def change(gate: Any, inputs: tuple[Tensor, ...], routing: Routing) -> Routing:
            nonlocal num_done
            num_tokens = inputs[0].shape[0]
            if isinstance(experts, int):
                experts_N = torch.full((num_tokens,), experts, device=routing.experts_M.device)
            else:
                experts_N = experts[num_done : num_done + num_tokens]
                num_done += num_tokens
            return without_expert(routing, experts_N, divides_by_sum=gate.divides_by_sum)

        return change

    with ExitStack() as stack:
        for name, experts in left_out.items():
            stack.callback(layers[name].gate.register_forward_hook(changing(experts)).remove)
        yield


def without_expert(routing: Routing, experts_N: Tensor, *, divides_by_sum: bool = True) -> Routing:
    """Take an expert out of the choice that a gate made for each token.

    ``H(x)_i`` becomes -inf behind KeepTopK (eq. 5), so that the softmax of eq. 3 divides the whole among the experts
    that are left: each gate is divided by ``1 - G(x)_i``. No other expert is chosen in its place. Gates of two levels,
    of eq. 16 and of a sigmoid are divided in the same way. A token whose only expert it was has none: eq. 1 is 0 there.

    Args:
        experts_N: the expert of each token (int64); :data:`NONE` where none is taken out. A token that it was not
            chosen for stays as it is.
        divides_by_sum: as :attr:`mtmoe.model.moe.gating.gate.Gate.divides_by_sum`; where it is false, the gates of the
            others stay as they are.
    """
    kept_M = routing.experts_M != experts_N.index_select(0, routing.tokens_M)
    gates_M = torch.where(kept_M, routing.gates_M, 0.0)
    sums_N = gates_M.new_zeros(experts_N.shape[0]).index_add(0, routing.tokens_M, gates_M)
    before_N = torch.zeros_like(sums_N).index_add(0, routing.tokens_M, routing.gates_M)
    factor_N = torch.where(divides_by_sum & (sums_N > 0) & (sums_N != before_N), before_N / sums_N, 1.0)
    places = kept_M.nonzero().squeeze(1)
    tokens_M, experts_M = (pairs_M.index_select(0, places) for pairs_M in (routing.tokens_M, routing.experts_M))
    gates_M = (gates_M * factor_N.index_select(0, routing.tokens_M)).index_select(0, places)
    token_counts_E = tokens_per_expert(experts_M, routing.token_counts_E.shape[0])
    return Routing(tokens_M, experts_M, gates_M, None, token_counts_E, routing.balance)


def outputs_of_experts(layer: MixtureOfExperts, routed: Routed) -> Tensor:
    """Return what each expert adds to its token, ``G(x)_i E_i(x)``, [M, D] in the order of the routing.

    Summed over the pairs of a token they are eq. 1: the layer's output, before its sigmoid where it has one, and
    without the shared experts where it has them.
    """
    routing = routed.routing
    num_pairs = routing.tokens_M.shape[0]
    each_alone = Routing(
        torch.arange(num_pairs, device=routing.tokens_M.device),
        routing.experts_M,
        routing.gates_M,
        1,
        routing.token_counts_E,
        None,
    )
    outputs_MD: Tensor = layer.experts(routed.x_ND.index_select(0, routing.tokens_M), each_alone)
    return outputs_MD
