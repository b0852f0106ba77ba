"""Consistency of two readings of the same tokens, with other dropout (R-Drop: Liang et al. 2021, eq. 2).

::

    D(p, q) = (KL(p | q) + KL(q | p)) / 2
    dD / dz_p = (p (log p - log q - KL(p | q)) + p - q) / 2        z_p: the logits of p; q's likewise
"""

from __future__ import annotations

import torch
from torch import Tensor


def symmetric_divergence(log_2NV: Tensor, probabilities_2NV: Tensor) -> tuple[Tensor, Tensor]:
    """Return D between the two readings, summed over the tokens, and its gradient by both logits, [2, N, V].

    Args:
        log_2NV: log-probabilities of both readings.
        probabilities_2NV: their exponentials.
    """
    gradient_2NV = torch.empty_like(log_2NV)
    torch.sub(log_2NV[0], log_2NV[1], out=gradient_2NV[0])
    torch.neg(gradient_2NV[0], out=gradient_2NV[1])
    divergence_2N1 = torch.linalg.vecdot(probabilities_2NV, gradient_2NV)[:, :, None]
    # p (log p - log q - KL(p | q)) + p - q, in place.
    gradient_2NV.add_(1 - divergence_2N1).mul_(probabilities_2NV).sub_(probabilities_2NV.flip(0)).mul_(0.5)
    return divergence_2N1.sum() / 2, gradient_2NV
