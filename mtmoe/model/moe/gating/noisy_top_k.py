"""Noisy top-k gating (paper, sections 2.1 and 4).

Letters: M pairs of a token and one of its experts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtmoe.model.moe.gating.gate import Gate
from mtmoe.model.moe.gating.load_balancing import squared_variation, tokens_per_expert
from mtmoe.model.moe.gating.top_k import choose_top_k, dense_gates, noise_scale, repeated_tokens
from mtmoe.model.moe.layer_parallelism import ONE_PROCESS_LAYER, LayerParallelism
from mtmoe.model.moe.routing import Balance, Routing
from mtmoe.model.ops.keyed_noise import TokenNoise


class NoisyTopKGate(Gate):
    """Noisy top-k gating (eqs. 3-5); importance and load losses (eqs. 6-11).

    The noise is drawn in training only; without it, or when every expert is chosen, the load is the plain
    count and has no loss (`docs/explanation/paper.md#decision-1` and `#decision-4`).
    """

    def __init__(
        self,
        width: int,
        num_experts: int,
        experts_per_token: int,
        *,
        importance_loss_weight: float,
        load_loss_weight: float,
        noise_floor: float,
        z_loss_weight: float = 0.0,
        parallelism: LayerParallelism = ONE_PROCESS_LAYER,
        noise: TokenNoise | None = None,
    ) -> None:
        super().__init__(num_experts, experts_per_token, parallelism, noise, z_loss_weight)
        self.importance_loss_weight = importance_loss_weight
        self.load_loss_weight = load_loss_weight
        self.noise_floor = noise_floor
        # Zeros (app. A): no signal and equal noise, hence nearly equal load at the start.
        self.gate_DE = nn.Parameter(torch.zeros(width, num_experts))
        self.noise_DE = nn.Parameter(torch.zeros(width, num_experts))

    @property
    def operations(self) -> int:
        """Return 2 d n: both matrices."""
        return self.gate_DE.numel() + self.noise_DE.numel()

    @property
    def noise_operations(self) -> int:
        """Return the multiply-adds with the noise's matrix."""
        return self.noise_DE.numel()

    def _route(self, x_ND: Tensor) -> Routing:
        k = self.experts_per_token
        clean_NE = x_ND @ self.gate_DE
        std_NE = noise_scale(x_ND @ self.noise_DE, self.noise_floor) if self.training else None
        experts_NK, gates_NK, probability_NE = choose_top_k(clean_NE, std_NE, k, self._normal)
        importance_E = dense_gates(experts_NK, gates_NK, self.num_experts).sum(0)
        token_counts_E = tokens_per_expert(experts_NK, self.num_experts)
        load_E = token_counts_E.to(importance_E.dtype) if probability_NE is None else probability_NE.sum(0)
        losses = self._losses(importance_E, load_E, probability_NE is not None, clean_NE)
        balance = Balance(importance_E, load_E, token_counts_E, losses)
        tokens_M = repeated_tokens(x_ND.shape[0], k, x_ND.device)
        return Routing(tokens_M, experts_NK.flatten(), gates_NK.flatten(), k, token_counts_E, balance)

    def _losses(self, importance_E: Tensor, load_E: Tensor, smooth: bool, clean_NE: Tensor) -> dict[str, Tensor]:
        importance_E, load_E, *of_z = self._reduced(importance_E, load_E, *self._z_sums(clean_NE))
        return {
            "importance": self.importance_loss_weight * squared_variation(importance_E),
            "load": self.load_loss_weight * squared_variation(load_E) if smooth else load_E.new_zeros(()),
            **self._z_losses(tuple(of_z)),
        }
