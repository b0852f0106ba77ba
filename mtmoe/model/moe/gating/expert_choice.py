"""Expert choice: every expert takes its best tokens, and gates are the scores as they are."""

from __future__ import annotations

import torch
from torch import Tensor

from mtmoe.model.moe.gating.strictly_balanced import StrictlyBalancedGate


class ExpertChoiceGate(StrictlyBalancedGate):
    """``S = softmax(x W_g)``; in training each expert takes the m = k |X| / n tokens of the batch with its largest S,
    and the gate of such a token is S itself (arXiv 2202.09368, section 3.2).

    What differs from :class:`StrictlyBalancedGate`: the gates of a token are not divided by their sum, so that a token
    that no expert wants much gets little from all. As there, m is rounded up. Outside training the source has no other
    rule, by which a translation would depend on what else is in its batch; here it is the thresholds that the experts
    have learned (eqs. 19 and 20), as with strict balancing.

    An expert sees all positions when it chooses: the gate is for encoders (settings refuse it elsewhere).
    """

    divides_by_sum = False

    def _kept(self, values_NE: Tensor, mask_NE: Tensor) -> Tensor:
        return torch.where(mask_NE, values_NE, 0.0)
