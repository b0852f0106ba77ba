"""Activation penalties of a language model (Merity, McCann and Socher 2017, arXiv 1708.01009): AR and TAR.

With h_t the output of the top LSTM layer at place t, m its dropout, and L2 the mean of squares over the width::

    AR   activation_penalty         alpha L2(m h_t)
    TAR  activation_change_penalty  beta L2(h_t - h_(t-1))

Sums over tokens; the first of a row has no change.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mtmoe.config.settings import Training
from mtmoe.model.translation import TopOutputs


def activation_penalty_sum(top: TopOutputs, lengths_B: Tensor, settings: Training) -> Tensor:
    """Return both penalties together, with their weights, summed over the real tokens of a batch: float32, a scalar.

    Args:
        lengths_B: real tokens of each row.
    """
    places_T = torch.arange(top.plain_BTD.shape[1], device=lengths_B.device)
    is_real_BT = places_T < lengths_B[:, None]
    penalty_sum = top.plain_BTD.new_zeros((), dtype=torch.promote_types(top.plain_BTD.dtype, torch.float32))
    if settings.activation_penalty:
        squares_BT = _mean_squares(top.dropped_BTD)
        penalty_sum = penalty_sum + settings.activation_penalty * (squares_BT * is_real_BT).sum()
    if settings.activation_change_penalty:
        changes_BT = _mean_squares(top.plain_BTD[:, 1:] - top.plain_BTD[:, :-1])
        penalty_sum = penalty_sum + settings.activation_change_penalty * (changes_BT * is_real_BT[:, 1:]).sum()
    return penalty_sum


def _mean_squares(x_BTD: Tensor) -> Tensor:
    wide_BTD = x_BTD.to(torch.promote_types(x_BTD.dtype, torch.float32))
    return wide_BTD.square().mean(2)
