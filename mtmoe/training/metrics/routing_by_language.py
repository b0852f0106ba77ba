"""Which experts the languages of a multilingual recipe use, on its dev sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mtmoe.training.metrics.expert_usage import SHARES_LISTED

Counts = Mapping[str, Tensor]
"""By layer: tokens of each expert, int64 [E]."""


def routing_by_language(counts_of: Mapping[str, Counts]) -> dict[str, Any]:
    """What to report of the routing of several dev sets, by name: nothing of a single one.

    For each layer and set ``LAYER.token_share.SET``, the share of the set's tokens that each expert got (of more than
    64 experts it is left out), and ``LAYER.routing_distance.SET``, from 0 to 1: the share of the set's tokens that
    would have to go to another expert to be spread as those of all other sets together are.
    """
    result: dict[str, Any] = {}
    for name, counts in counts_of.items() if len(counts_of) > 1 else ():
        for layer, token_counts_E in counts.items():
            share_E = _share(token_counts_E)
            others_E = sum(other[layer] for other_name, other in counts_of.items() if other_name != name)
            assert isinstance(others_E, Tensor)
            if token_counts_E.numel() <= SHARES_LISTED:
                result[f"{layer}.token_share.{name}"] = [round(share, 6) for share in share_E.tolist()]
            result[f"{layer}.routing_distance.{name}"] = float((share_E - _share(others_E)).abs().sum() / 2)
    return result


def _share(token_counts_E: Tensor) -> Tensor:
    return token_counts_E.double() / token_counts_E.sum().clamp(min=1)
