"""Chunks of long sequences, for bounded memory.

Where no gradient is wanted, what would be large is made for some positions at a time. The numbers are the same but for
rounding; what is small is one piece.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Of the largest tensor of a piece. 16 MiB in float32: memory of more is given back and cleared anew at every piece.
ATTENTION_ELEMENTS = 1 << 22
LAYER_ELEMENTS = 1 << 26  # products of weights that are read anew for each piece: 256 MiB


def in_pieces(
    compute: Callable[[Tensor], Tensor], x: Tensor, dim: int, row_elements: int, most_elements: int
) -> Tensor:
    """Return ``compute(x)``, of which each place along ``dim`` depends on the same place of x alone.

    Where gradients are on, it is called once. Else with as many places at a time as have at most ``most_elements``
    among them; one, where one has more.

    row_elements: what a place needs.
    """
    length = places_at_once(x.shape[dim], row_elements, most_elements)
    if length >= x.shape[dim]:
        return compute(x)
    return torch.cat([compute(part) for part in x.split(length, dim)], dim)


def places_at_once(num_places: int, row_elements: int, most_elements: int) -> int:
    """Return how many of a sequence's places make a piece: all, where gradients are on."""
    if torch.is_grad_enabled() or num_places * row_elements <= most_elements:
        return num_places
    return max(1, most_elements // row_elements)
