"""Routing by frequency: which experts frequent and rare subwords go to.

Letters: F bands of frequency, M pairs of a token and one of its experts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BANDS = ("most frequent", "frequent", "rare", "rarest", "special or new")
_NUM_BANDS = len(BANDS) - 1


class FrequencyRouting(NamedTuple):
    """Tokens of a layer by how often their subword comes in the training text.

    bands_F: their names, the most frequent first; special symbols have one of their own. about_F: the subwords of each.
    num_tokens_F: of a band, each counted once for each of its experts.
    shares_FE: of a band's tokens that each expert was given. distances_F: share of a band's tokens, 0 to 1, that would
    have to go to another expert to be spread as all tokens are.
    """

    bands_F: tuple[str, ...]
    about_F: tuple[str, ...]
    num_tokens_F: tuple[int, ...]
    shares_FE: np.ndarray
    distances_F: tuple[float, ...]


def routing_by_frequency(
    ids_M: np.ndarray, experts_M: np.ndarray, num_experts: int, times_V: np.ndarray
) -> FrequencyRouting:
    """Return how tokens are routed by the frequency of their subwords.

    Args:
        ids_M, experts_M: subword and expert of each pair of a token and one of its experts.
        times_V: how often each subword comes in the training text; those that never do are the rarest.
    """
    bands_V, about = frequency_bands(times_V)
    counts_FE = np.zeros((len(BANDS), num_experts), np.int64)
    np.add.at(counts_FE, (bands_V[ids_M], experts_M), 1)
    totals_F = counts_FE.sum(1)
    shares_FE = counts_FE / np.maximum(totals_F, 1)[:, None]
    all_E = counts_FE.sum(0) / max(int(totals_F.sum()), 1)
    distances_F = np.abs(shares_FE - all_E).sum(1) / 2
    there = [band for band in range(len(BANDS)) if totals_F[band]]
    return FrequencyRouting(
        tuple(BANDS[band] for band in there),
        tuple(about[band] for band in there),
        tuple(int(totals_F[band]) for band in there),
        shares_FE[there],
        tuple(float(distances_F[band]) for band in there),
    )


def frequency_bands(times_V: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return the band of each subword, and what is in the bands: each has as many running subwords of the text, so that
    the first has few subwords that come often. Those that never come have the last one."""
    order_V = np.argsort(-times_V, kind="stable")
    before_V = np.cumsum(times_V[order_V]) - times_V[order_V]
    bands_V = np.empty(len(times_V), np.int64)
    bands_V[order_V] = np.minimum(before_V * _NUM_BANDS // max(int(times_V.sum()), 1), _NUM_BANDS - 1)
    bands_V[times_V == 0] = _NUM_BANDS
    about = []
    for band in range(_NUM_BANDS):
        times = times_V[bands_V == band]
        about.append(f"{len(times):,} subwords, {times.min():,} times or more" if len(times) else "none")
    return bands_V, [*about, "special symbols, and what never comes"]
