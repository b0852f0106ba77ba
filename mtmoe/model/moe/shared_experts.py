"""Shared experts: always on, beside those that a gate chooses (arXiv 2401.06066, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtmoe.model.ops.chunked_inference import LAYER_ELEMENTS, in_pieces
from mtmoe.model.ops.rows import with_common_number_of_rows


class SharedExperts(nn.Module):
    """``sum_s relu(x W1_s) W2_s`` over experts that every token has, with the gate 1.

    They are side by side in two matrices, since the sum is that of one network with the hidden units of all. Every
    process has them whole.
    """

    def __init__(self, number: int, width: int, hidden: int) -> None:
        """Draw Glorot weights, for each expert as if it were alone."""
        super().__init__()
        firsts = [nn.init.xavier_uniform_(torch.empty(width, hidden)) for _ in range(number)]
        seconds = [nn.init.xavier_uniform_(torch.empty(hidden, width)) for _ in range(number)]
        self.first_DH = nn.Parameter(torch.cat(firsts, dim=1))
        self.second_HD = nn.Parameter(torch.cat(seconds, dim=0))

    def forward(self, x_ND: Tensor) -> Tensor:
        """Compute [N, D] -> [N, D]."""
        return in_pieces(self._output, x_ND, 0, self.first_DH.shape[1], LAYER_ELEMENTS)

    def _output(self, x_ND: Tensor) -> Tensor:
        hidden_NH = (with_common_number_of_rows(x_ND) @ self.first_DH).relu()
        return (hidden_NH @ self.second_HD)[: x_ND.shape[0]]
