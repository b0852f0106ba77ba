"""Which experts a token is sent to, and how evenly a batch uses them (paper, sections 2 to 4).

All in float32, outside autocast; only real tokens come in, so padding takes no part in any sum. Besides the letters
of the house: G groups of experts, L experts of one group, R rows, each a token in one of its groups.

Of experts with equal gate values, which one is chosen is not promised, only that the number chosen is right and the
choice the same every time.
"""

from mtmoe.model.gating.balance import squared_variation, tokens_per_expert
from mtmoe.model.gating.balanced import BalancedGate
from mtmoe.model.gating.hierarchical import HierarchicalGate
from mtmoe.model.gating.hierarchical_balanced import HierarchicalBalancedGate
from mtmoe.model.gating.interface import Gate
from mtmoe.model.gating.noisy_top_k import NoisyTopKGate
from mtmoe.model.gating.softmax import SoftmaxGate
from mtmoe.model.gating.strictly_balanced import StrictlyBalancedGate
from mtmoe.model.gating.top_k import probability_in_top_k
from mtmoe.model.gating.two_levels import TwoLevelGate

__all__ = [
    "BalancedGate",
    "Gate",
    "HierarchicalBalancedGate",
    "HierarchicalGate",
    "NoisyTopKGate",
    "SoftmaxGate",
    "StrictlyBalancedGate",
    "TwoLevelGate",
    "probability_in_top_k",
    "squared_variation",
    "tokens_per_expert",
]
