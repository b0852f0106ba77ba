"""Operations on the experts of whole weights: what one makes of each layer, and the parameters that come of it.

Letters: G groups of experts, L experts of one group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from torch import Tensor

from mtmoe.config.settings import MixtureOfExpertsSettings
from mtmoe.model.layer_names import layer_of
from mtmoe.model.moe.expert_selection import select_experts

Name = Literal["prune", "merge", "grow"]
Weights = Mapping[str, Tensor]
"""Parameters of a network by name."""


class Operation(NamedTuple):
    """What is to be done.

    moe: the new settings of the layers. origins: by layer, for each new expert the old ones that it is made of.
    weights: all of the new network. why: a sentence for people.
    """

    name: Name
    moe: MixtureOfExpertsSettings
    origins: Mapping[str, Sequence[Sequence[int]]]
    weights: Weights
    why: str


def number_of_groups(moe: MixtureOfExpertsSettings) -> int:
    """Return G; one where there is one level."""
    return moe.hierarchy.groups if moe.hierarchy is not None else 1


def is_of_layer(name: str) -> bool:
    """Return whether a parameter is of a gate or of experts behind one; shared experts have none."""
    return ".moe" in layer_of(name) and (".gate." in name or ".experts." in name)


def with_selected(
    weights: Weights, experts: Mapping[str, Sequence[int]], moe: MixtureOfExpertsSettings
) -> dict[str, Tensor]:
    """Return the weights of a network whose layers have these experts of the old ones, in this order.

    Args:
        experts: by layer.
        moe: the old settings.
    """
    groups = number_of_groups(moe)
    return {
        name: select_experts(name, tensor, experts[layer_of(name)], groups) if is_of_layer(name) else tensor
        for name, tensor in weights.items()
    }


def parameter_of(weights: Weights, layer: str, inside: str) -> str:
    """Return the whole name of a layer's parameter, such as that of ``first_EDH`` of ``encoder.moe1``."""
    return next(name for name in weights if name.endswith(f".{inside}") and layer_of(name) == layer)


def best_of_groups(values: Sequence[float], num_kept: int, groups: int) -> list[int]:
    """Return the experts with the largest values, ascending; equally many of each group. Of equals, the first."""
    of_group = len(values) // groups
    kept: list[int] = []
    for begin in range(0, len(values), of_group):
        order = sorted(range(begin, begin + of_group), key=lambda expert: (-values[expert], expert))
        kept += sorted(order[: num_kept // groups])
    return kept
