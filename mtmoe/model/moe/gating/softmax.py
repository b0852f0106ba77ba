"""Softmax gating without noise (eq. 2), kept to the k largest (eqs. 16 and 17).

Letters: M pairs of a token and one of its experts.
"""

from __future__ import annotations

from torch import Tensor

from mtmoe.model.moe.gating.gate import Gate, random_weights
from mtmoe.model.moe.gating.load_balancing import squared_variation, tokens_per_expert
from mtmoe.model.moe.gating.top_k import choose_top_k, dense_gates, repeated_tokens
from mtmoe.model.moe.layer_parallelism import ONE_PROCESS_LAYER, LayerParallelism
from mtmoe.model.moe.routing import Balance, Routing


class SoftmaxGate(Gate):
    """``softmax(x W_g)``, its k largest values divided by their sum; with k = E it is eq. 2 itself.

    Without noise there is no smooth load: the importance loss is the only one.
    """

    def __init__(
        self,
        width: int,
        num_experts: int,
        experts_per_token: int,
        *,
        importance_loss_weight: float,
        parallelism: LayerParallelism = ONE_PROCESS_LAYER,
    ) -> None:
        super().__init__(num_experts, experts_per_token, parallelism)
        self.importance_loss_weight = importance_loss_weight
        self.gate_DE = random_weights(width, num_experts)

    @property
    def operations(self) -> int:
        """Return d n: there is no matrix for noise."""
        return self.gate_DE.numel()

    def _route(self, x_ND: Tensor) -> Routing:
        k = self.experts_per_token
        experts_NK, gates_NK, _ = choose_top_k(x_ND @ self.gate_DE, None, k)
        importance_E = dense_gates(experts_NK, gates_NK, self.num_experts).sum(0)
        token_counts_E = tokens_per_expert(experts_NK, self.num_experts)
        (reduced_E,) = self._reduced(importance_E)
        losses = {"importance": self.importance_loss_weight * squared_variation(reduced_E)}
        balance = Balance(importance_E, token_counts_E.to(importance_E.dtype), token_counts_E, losses)
        tokens_M = repeated_tokens(x_ND.shape[0], k, x_ND.device)
        return Routing(tokens_M, experts_NK.flatten(), gates_NK.flatten(), k, token_counts_E, balance)
