"""Routing by language: which experts the dev sets of a multilingual recipe use."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mtmoe.training.metrics.records import LanguageRouting

Counts = Mapping[str, Tensor]
"""By layer: tokens of each expert, int64 [E]."""


def routing_by_language(counts_of: Mapping[str, Counts]) -> dict[str, dict[str, LanguageRouting]]:
    """Return how each of several dev sets is routed, by set and layer; of a single set nothing.

    Args:
        counts_of: the tokens that the experts received, by dev set.
    """
    if len(counts_of) < 2:
        return {}
    return {
        name: {
            layer: _compared(
                token_counts_E, [other[layer] for other_name, other in counts_of.items() if other_name != name]
            )
            for layer, token_counts_E in counts.items()
        }
        for name, counts in counts_of.items()
    }


def _compared(token_counts_E: Tensor, of_others: list[Tensor]) -> LanguageRouting:
    share_E, others_E = _share(token_counts_E), _share(sum(of_others[1:], of_others[0]))
    return LanguageRouting(tuple(share_E.tolist()), float((share_E - others_E).abs().sum() / 2))


def _share(token_counts_E: Tensor) -> Tensor:
    return token_counts_E.double() / token_counts_E.sum().clamp(min=1)
