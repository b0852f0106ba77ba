"""Gates: which experts a token is sent to, and how evenly a batch uses them (paper, sections 2 to 4).

All in float32, outside autocast; only real tokens come in, so padding takes no part in any sum.
Letters: G groups of experts, L experts of one group, R rows, each a token in one of its groups.

Of experts with equal gate values, which one is chosen is not promised, only that the number chosen is right and the
choice the same every time.
"""

from mtmoe.model.moe.gating.balanced import BalancedGate
from mtmoe.model.moe.gating.choice_bias import changed_bias
from mtmoe.model.moe.gating.expert_choice import ExpertChoiceGate
from mtmoe.model.moe.gating.gate import Gate
from mtmoe.model.moe.gating.hierarchical import HierarchicalGate
from mtmoe.model.moe.gating.hierarchical_balanced import HierarchicalBalancedGate
from mtmoe.model.moe.gating.load_balancing import squared_variation, tokens_per_expert
from mtmoe.model.moe.gating.noisy_top_k import NoisyTopKGate
from mtmoe.model.moe.gating.scored import ScoredGate
from mtmoe.model.moe.gating.sigmoid import SigmoidGate
from mtmoe.model.moe.gating.softmax import SoftmaxGate
from mtmoe.model.moe.gating.strictly_balanced import StrictlyBalancedGate
from mtmoe.model.moe.gating.top_k import probability_in_top_k
from mtmoe.model.moe.gating.two_levels import TwoLevelGate

__all__ = [
    "BalancedGate",
    "ExpertChoiceGate",
    "Gate",
    "HierarchicalBalancedGate",
    "HierarchicalGate",
    "NoisyTopKGate",
    "ScoredGate",
    "SigmoidGate",
    "SoftmaxGate",
    "StrictlyBalancedGate",
    "TwoLevelGate",
    "changed_bias",
    "probability_in_top_k",
    "squared_variation",
    "tokens_per_expert",
]
