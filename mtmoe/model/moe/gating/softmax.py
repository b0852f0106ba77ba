"""Softmax gating without noise (eq. 2), kept to the k largest (eqs. 16 and 17)."""

from __future__ import annotations

from mtmoe.model.moe.gating.scored import ScoredGate


class SoftmaxGate(ScoredGate):
    """``softmax(x W_g)``, its k largest values divided by their sum; with k = E it is eq. 2 itself."""

    score = "softmax"
