"""Routing by frequency: bands have as many running subwords each; distances are those of the definition."""

from __future__ import annotations

import numpy as np
import pytest

from mtmoe.report.examining.frequency_routing import frequency_bands, routing_by_frequency


def test_bands_divide_the_running_text_and_what_never_comes_has_its_own() -> None:
    times_V = np.array([0, 25, 50, 5, 5, 5, 5, 5, 0])
    bands_V, about = frequency_bands(times_V)
    assert bands_V.tolist() == [4, 2, 0, 3, 3, 3, 3, 3, 4]
    assert about == [
        "1 subwords, 50 times or more", "none", "1 subwords, 25 times or more", "5 subwords, 5 times or more",
        "special symbols, and what never comes",
    ]  # fmt: skip


def test_the_distance_is_what_would_have_to_go_to_another_expert() -> None:
    times_V = np.array([0, 50, 50])
    ids_M, experts_M = np.array([1, 1, 1, 1, 2, 2, 0, 0]), np.array([0, 0, 0, 1, 1, 1, 0, 1])
    found = routing_by_frequency(ids_M, experts_M, 3, times_V)
    assert found.bands_F == ("most frequent", "rare", "special or new")
    assert found.num_tokens_F == (4, 2, 2)
    assert found.shares_FE.tolist() == [[0.75, 0.25, 0], [0, 1, 0], [0.5, 0.5, 0]]
    assert found.distances_F == pytest.approx((0.25, 0.5, 0.0))  # from a half and a half
