"""Banned words: what restrictions forbid, as tensors. Letters: X rows, V vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtmoe.inference.constraints.decoding_rule import Restriction
from mtmoe.inference.search.next_words.likeliest import Ban
from mtmoe.vocabulary import EOS


def ban_of(restrictions: Sequence[Restriction], device: torch.device | str) -> Ban | None:
    """Return the banned words of all rows that no rule proposes; None if there are none."""
    cells = [(row, word) for row, r in enumerate(restrictions) if r.banned for word in sorted(r.banned - r.proposed)]
    if not cells:
        return None
    return Ban(*torch.tensor(cells, device=device).unbind(1))


def banned_mask(restrictions: Sequence[Restriction], vocabulary_size: int, device: torch.device | str) -> Tensor | None:
    """Return True [X, V] for what must not be drawn; None without restrictions."""
    if not restrictions:
        return None
    is_banned_XV = torch.zeros(len(restrictions), vocabulary_size, dtype=torch.bool)
    for row, restriction in enumerate(restrictions):
        if restriction.only_proposed:
            is_banned_XV[row] = True
        is_banned_XV[row, list(restriction.banned)] = True
        is_banned_XV[row, list(restriction.proposed)] = False
        is_banned_XV[row, EOS] = not restriction.may_end
    return is_banned_XV.to(device)
