"""Word-level distillation: the divergence of the network from its teachers (Hinton et al. 2015; Kim and Rush 2016).

With the temperature t, q the teachers' probabilities softmax(logits / t), of several their mean, and p the network's::

    L = t^2 KL(q | p)        dL / dlogits = t (p - q)

KL and not the cross-entropy of q and p, which have the same gradient: it is 0 where the network says what its teachers
say.
"""

from __future__ import annotations

import torch
from torch import Tensor


def with_exact_top_k(teacher_NV: Tensor, top_k: int) -> Tensor:
    """Return the probabilities with those of the ``top_k`` likeliest words as they are, and what they leave to 1
    spread evenly over all others; 0 leaves all as they are.

    So the gradient at the words that are taught is that of the whole distribution. If the rest were given to the k
    words, they would be taught to be likelier than the teachers say.
    """
    num_others = teacher_NV.shape[1] - top_k
    if not top_k or num_others <= 0:
        return teacher_NV
    best_NK, words_NK = teacher_NV.topk(top_k, dim=1)
    rest_N1 = (1 - best_NK.sum(1, keepdim=True)).clamp(min=0) / num_others
    return rest_N1.expand_as(teacher_NV).scatter(1, words_NK, best_NK)


def divergence_from_teacher(logits_NV: Tensor, teacher_NV: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return L, summed over the tokens, and its gradient by the logits, [N, V]."""
    log_NV = (logits_NV / temperature).log_softmax(1)
    divergence = (torch.xlogy(teacher_NV, teacher_NV) - teacher_NV * log_NV).sum()
    return divergence * temperature**2, (log_NV.exp_() - teacher_NV) * temperature
