"""Top-k by a score of each expert, without noise; with or without a bias on the choice.

Letters: R rows, M pairs of a token and one of its experts.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtmoe.model.moe.gating.gate import Gate, random_weights
from mtmoe.model.moe.gating.load_balancing import squared_variation, tokens_per_expert
from mtmoe.model.moe.gating.top_k import Choice, choose_top_k, dense_gates, repeated_tokens
from mtmoe.model.moe.layer_parallelism import ONE_PROCESS_LAYER, LayerParallelism
from mtmoe.model.moe.routing import Balance, Routing

Score = Literal["softmax", "sigmoid"]


class ScoredGate(Gate):
    """The k best scores ``s(x W_g)`` of a token, divided by their sum and times ``scale``; what ``s`` is, subclasses
    say.

    Without noise there is no smooth load: the importance loss is the only one that balances.

    choice_bias_E: added to the scores where experts are chosen, and nowhere else (`choice_bias.py`); None without a
    ``choice_bias_rate``. It is a parameter without a gradient: it is saved, averaged and exported as weights are, and
    no optimizer sees it.
    """

    score: ClassVar[Score]

    def __init__(
        self,
        width: int,
        num_experts: int,
        experts_per_token: int,
        *,
        importance_loss_weight: float,
        z_loss_weight: float = 0.0,
        choice_bias_rate: float = 0.0,
        scale: float = 1.0,
        parallelism: LayerParallelism = ONE_PROCESS_LAYER,
    ) -> None:
        super().__init__(num_experts, experts_per_token, parallelism, None, z_loss_weight)
        self.importance_loss_weight = importance_loss_weight
        self.choice_bias_rate, self.scale = choice_bias_rate, scale
        self.gate_DE = random_weights(width, num_experts)
        self.choice_bias_E = (
            nn.Parameter(torch.zeros(num_experts), requires_grad=False) if choice_bias_rate > 0 else None
        )

    def choice_biases(self) -> tuple[str, ...]:
        """Return the names of what no gradient changes."""
        return () if self.choice_bias_E is None else ("choice_bias_E",)

    @property
    def operations(self) -> int:
        """Return d n: there is no matrix for noise."""
        return self.gate_DE.numel()

    def _route(self, x_ND: Tensor) -> Routing:
        k, logits_NE = self.experts_per_token, x_ND @ self.gate_DE
        experts_NK, gates_NK, _ = choose_by_score(logits_NE, k, self.score, self.choice_bias_E)
        gates_NK = gates_NK * self.scale if self.scale != 1 else gates_NK
        importance_E = dense_gates(experts_NK, gates_NK, self.num_experts).sum(0)
        token_counts_E = tokens_per_expert(experts_NK, self.num_experts)
        reduced_E, *of_z = self._reduced(importance_E, *self._z_sums(logits_NE))
        losses = {"importance": self.importance_loss_weight * squared_variation(reduced_E)}
        losses |= self._z_losses(tuple(of_z))
        balance = Balance(importance_E, token_counts_E.to(importance_E.dtype), token_counts_E, losses)
        tokens_M = repeated_tokens(x_ND.shape[0], k, x_ND.device)
        return Routing(tokens_M, experts_NK.flatten(), gates_NK.flatten(), k, token_counts_E, balance)


def choose_by_score(logits_RE: Tensor, k: int, score: Score, bias_E: Tensor | None = None) -> Choice:
    """Choose the k best scores of each row, plus the bias where there is one; gates are the scores without it, divided
    by their sum.

    The logits' own order is that of the scores, without their ties where a sigmoid is 0 or 1. And scores divided by
    their sum are the softmax of their logarithms, which is no 0 / 0 where all scores are.
    """
    if bias_E is None and score == "softmax":
        return choose_top_k(logits_RE, None, k)
    chosen_from_RE = logits_RE.detach()
    if bias_E is not None:
        chosen_from_RE = (chosen_from_RE.softmax(dim=1) if score == "softmax" else chosen_from_RE.sigmoid()) + bias_E
    # One more than k, as in `choose_top_k` and in the compiled search: so ties are decided alike.
    experts_RK = chosen_from_RE.topk(min(k + 1, logits_RE.shape[1]), dim=1).indices[:, :k]
    logits_RK = logits_RE.gather(1, experts_RK)
    logarithms_RK = logits_RK if score == "softmax" else F.logsigmoid(logits_RK)
    return Choice(experts_RK, logarithms_RK.softmax(dim=1), None)
