"""Sigmoid gating without noise, kept to the k largest."""

from __future__ import annotations

from mtmoe.model.moe.gating.scored import ScoredGate


class SigmoidGate(ScoredGate):
    """``s_i = sigmoid((x W_g)_i)``, and of the k largest the gates ``g_i = scale s_i / sum_j s_j`` (arXiv 2412.19437,
    section 2.1.2; the scale is in the code of that model alone).

    The score of an expert does not depend on those of the others: what a bias adds to it means the same for any token.
    """

    score = "sigmoid"
