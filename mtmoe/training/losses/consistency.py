"""Consistency of two readings of the same tokens, with other dropout (R-Drop: Liang et al. 2021, eq. 2).

::

    D(p, q) = (KL(p | q) + KL(q | p)) / 2
    dD / dz_p = (p (log p - log q - KL(p | q)) + p - q) / 2        z_p: the logits of p; q's likewise
"""

from __future__ import annotations

import torch
from torch import Tensor


def symmetric_divergence(log_2NV: Tensor) -> tuple[Tensor, Tensor]:
    """Return D between the two readings, summed over the tokens, and its gradient by both logits, [2, N, V].

    Args:
        log_2NV: log-probabilities of both readings.
    """
    both_2NV = log_2NV.exp()
    difference_NV = log_2NV[0] - log_2NV[1]
    signed_2NV = torch.stack((difference_NV, -difference_NV))
    divergence_2N1 = (both_2NV * signed_2NV).sum(2, keepdim=True)
    gradient_2NV = both_2NV * (signed_2NV - divergence_2N1) + both_2NV - both_2NV.flip(0)
    return divergence_2N1.sum() / 2, gradient_2NV / 2
