"""What rules forbid, as tensors: X rows, V vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor

from mtmoe.inference.constraints.rules import Rule
from mtmoe.inference.search.next_words.likeliest import Ban
from mtmoe.vocabulary import EOS


def ban_of(rules: list[Rule], device: torch.device | str) -> Ban | None:
    cells = [(row, word) for row, rule in enumerate(rules) for word in sorted(rule.banned - rule.allowed)]
    if not cells:
        return None
    return Ban(*torch.tensor(cells, device=device).unbind(1))


def barred_words(rules: list[Rule], vocabulary_size: int, device: torch.device | str) -> Tensor | None:
    """What must not be drawn [X, V]."""
    if not rules:
        return None
    is_barred_XV = torch.zeros(len(rules), vocabulary_size, dtype=torch.bool)
    for row, rule in enumerate(rules):
        if rule.only:
            is_barred_XV[row] = True
        is_barred_XV[row, list(rule.banned)] = True
        is_barred_XV[row, list(rule.allowed)] = False
        is_barred_XV[row, EOS] = not rule.may_end
    return is_barred_XV.to(device)
