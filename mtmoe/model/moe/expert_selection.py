"""Selection of experts: the parameters of a layer that has some of another layer's experts, or copies of them.

Letters: G groups of experts, L experts of one group; with one level there is one group.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_OF_EXPERTS = ("first_EDH", "second_EHD", "log_threshold_E")
_OF_GROUPS = ("_DG", "_G")
"""How the names of what a gate has for whole groups end."""


def select_experts(name: str, weights: Tensor, experts: Sequence[int], groups: int = 1) -> Tensor:
    """Return a parameter of a layer whose expert i is a copy of expert ``experts[i]`` with its gate.

    Args:
        name: of the parameter in its module, such as ``first_EDH`` or ``gate_GDL``.
        experts: numbers of old experts, those of the first group first, equally many of each group.
    """
    name = name.rpartition(".")[2]
    if name in _OF_EXPERTS:
        return weights[torch.tensor(experts)]
    if groups == 1:
        return weights[..., torch.tensor(experts)]
    if name.endswith(_OF_GROUPS):
        return weights
    places_GL = torch.tensor(experts).view(groups, -1) - torch.arange(groups)[:, None] * weights.shape[-1]
    return torch.stack([of_group[..., places_L] for of_group, places_L in zip(weights, places_GL, strict=True)])
