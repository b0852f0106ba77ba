"""Strictly balanced gating (paper, appendix F): every expert gets the same number of tokens.

Letters: M pairs of a token and one of its experts, C best tokens of an expert.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtmoe.model.moe.gating.balanced import (
    BalancedGate,
    best_rows,
    best_rows_of_all,
    in_token_order,
    renormalised,
    rows_per_expert,
    threshold_loss,
)
from mtmoe.model.moe.gating.gate import random_weights
from mtmoe.model.moe.gating.load_balancing import tokens_per_expert
from mtmoe.model.moe.layer_parallelism import ONE_PROCESS_LAYER, LayerParallelism
from mtmoe.model.moe.routing import Routing


class StrictlyBalancedGate(BalancedGate):
    """Softmax gates under a mask (eq. 16). In training the mask takes the m = k |X| / n tokens of each expert with
    the largest gates in the batch (eq. 18); in evaluation, those above the expert's threshold (eq. 19).

    Where k |X| / n is no whole number, m is rounded up. A token has k experts on average only; one without any has
    the output zero. The thresholds learn from eq. 20 and from nothing else, and nothing else learns from it. They are
    stored as ``log(n T)``: gates are about 1 / n, and an optimizer's step should be small beside them for any n.

    Which experts a token gets in training depends on the other tokens of the batch, those behind it in its own
    sentence too: in a decoder this lets a training loss see a little of the future
    (`docs/explanation/paper.md#decision-11`).
    """

    def __init__(
        self,
        width: int,
        num_experts: int,
        experts_per_token: int,
        *,
        importance_loss_weight: float,
        threshold_loss_weight: float,
        z_loss_weight: float = 0.0,
        parallelism: LayerParallelism = ONE_PROCESS_LAYER,
    ) -> None:
        super().__init__(
            num_experts, experts_per_token, importance_loss_weight, threshold_loss_weight, parallelism, z_loss_weight
        )
        self.gate_DE = random_weights(width, num_experts)
        self.log_threshold_E = nn.Parameter(torch.zeros(num_experts))

    @property
    def threshold_E(self) -> Tensor:
        """Return T of eq. 19."""
        return self.log_threshold_E.exp() / self.num_experts

    @property
    def operations(self) -> int:
        """Return d n: there is no matrix for noise."""
        return self.gate_DE.numel()

    def _route(self, x_ND: Tensor) -> Routing:
        logits_NE = x_ND @ self.gate_DE
        values_NE, of_z = logits_NE.softmax(dim=1), self._z_sums(logits_NE)
        if not self.training:
            return self._route_by_mask(values_NE, values_NE > self.threshold_E, None, of_z)
        global_rows = self.parallelism.global_rows
        if global_rows is None:
            return self._route_training(values_NE, of_z)
        num_tokens, most = global_rows.count(values_NE.shape[0])
        m = rows_per_expert(num_tokens, self.num_experts, self.experts_per_token)
        mask_NE = best_rows_of_all(values_NE, m, most, global_rows)
        return self._route_by_mask(values_NE, mask_NE, threshold_loss(values_NE, self.threshold_E, mask_NE), of_z)

    def _kept(self, values_NE: Tensor, mask_NE: Tensor) -> Tensor:
        """Return the gates of the tokens and experts that the mask has; 0 elsewhere."""
        return renormalised(values_NE, mask_NE)

    def _route_training(self, values_NE: Tensor, of_z: tuple[Tensor, ...]) -> Routing:
        num_tokens, num_experts = values_NE.shape
        m = rows_per_expert(num_tokens, num_experts, self.experts_per_token)
        tokens_EC, mask_NE = best_rows(values_NE, m)
        gates_NE = self._kept(values_NE, mask_NE)
        excess = threshold_loss(values_NE, self.threshold_E, mask_NE)
        token_counts_E = torch.full((num_experts,), m, device=values_NE.device)
        balance = self._balance(gates_NE.sum(0), token_counts_E, excess, num_tokens, of_z)
        experts_EC = torch.arange(num_experts, device=values_NE.device)[:, None].expand(-1, m)
        tokens_M, experts_M, gates_M = in_token_order(tokens_EC, experts_EC, gates_NE.t().gather(1, tokens_EC))
        return Routing(tokens_M, experts_M, gates_M, None, token_counts_E, balance)

    def _route_by_mask(
        self, values_NE: Tensor, mask_NE: Tensor, excess: Tensor | None, of_z: tuple[Tensor, ...]
    ) -> Routing:
        """Route by a mask, whose number of pairs is known on the device alone, for which this waits: in evaluation, and
        of one process among several."""
        gates_NE = self._kept(values_NE, mask_NE)
        tokens_M, experts_M = mask_NE.nonzero().unbind(1)
        token_counts_E = tokens_per_expert(experts_M, self.num_experts)
        # Gates that are not a number are above no threshold; the sum shows them all the same.
        importance_E = gates_NE.sum(0) + 0.0 * values_NE.detach().sum(0)
        balance = self._balance(importance_E, token_counts_E, excess, values_NE.shape[0], of_z)
        gates_M = gates_NE.flatten().index_select(0, tokens_M * self.num_experts + experts_M)
        return Routing(tokens_M, experts_M, gates_M, None, token_counts_E, balance)
