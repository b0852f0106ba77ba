"""Mixture-of-experts layer between LSTM layers, and the dense network that it is compared with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mtmoe.config.settings import MixtureOfExpertsSettings
from mtmoe.model.moe.experts import Experts
from mtmoe.model.moe.gating import (
    ExpertChoiceGate,
    Gate,
    HierarchicalBalancedGate,
    HierarchicalGate,
    NoisyTopKGate,
    SigmoidGate,
    SoftmaxGate,
    StrictlyBalancedGate,
)
from mtmoe.model.moe.layer_parallelism import ONE_PROCESS_LAYER, LayerParallelism
from mtmoe.model.moe.routing import Balance, sum_of_balances
from mtmoe.model.moe.shared_experts import SharedExperts
from mtmoe.model.ops.chunked_inference import LAYER_ELEMENTS, in_pieces
from mtmoe.model.ops.keyed_noise import TokenNoise
from mtmoe.model.ops.rows import with_common_number_of_rows


class MixtureOfExperts(nn.Module):
    """Gate, experts, and the sigmoid that the paper puts on their sum (`docs/explanation/paper.md#decision-18`).

    shared: experts that every token has, which are in that sum; None where there are none.
    """

    def __init__(
        self,
        width: int,
        settings: MixtureOfExpertsSettings,
        parallelism: LayerParallelism = ONE_PROCESS_LAYER,
        noise: TokenNoise | None = None,
    ) -> None:
        super().__init__()
        self.sigmoid_output = settings.sigmoid_output
        self.gate = build_gate(width, settings, parallelism, noise)
        has_two_levels = settings.hierarchy is not None
        self.dispatch = parallelism.group_dispatch if has_two_levels else parallelism.expert_dispatch
        self.experts = Experts(
            settings.num_experts,
            width,
            settings.expert_hidden,
            recompute=settings.recompute_experts,
            shard=parallelism.shard,
        )
        number = settings.shared_experts
        self.shared = SharedExperts(number, width, settings.expert_hidden) if number else None

    def forward(self, x_ND: Tensor) -> tuple[Tensor, Balance]:
        """Return the outputs of N real tokens, [N, D], and how evenly the experts were used."""
        y_ND, balance = self._local_output(x_ND) if self.dispatch is None else self.dispatch(self, x_ND)
        if self.shared is not None:
            y_ND = y_ND + self.shared(x_ND)
        return (y_ND.sigmoid() if self.sigmoid_output else y_ND), balance

    def _local_output(self, x_ND: Tensor) -> tuple[Tensor, Balance]:
        routing = self.gate(x_ND)
        y_ND = self.experts(x_ND, routing)
        assert routing.balance is not None  # every gate reports it
        return y_ND, routing.balance

    @property
    def operations(self) -> int:
        """Return the multiply-adds of one token in training: those of the gate, of k of the experts and of the shared
        ones."""
        gate = self.gate
        shared = sum(matrix.numel() for matrix in self.shared.parameters()) if self.shared is not None else 0
        return gate.operations + self.experts.num_weights * gate.experts_per_token // gate.num_experts + shared


class DenseFeedForward(nn.Module):
    """One network with the hidden units of all experts of a token, shared ones too, always active: the same operations
    per timestep as the mixture but for its gate (MoE-1-Wide of app. C; with more hidden layers MoE-1-Deep)."""

    def __init__(self, width: int, settings: MixtureOfExpertsSettings) -> None:
        super().__init__()
        self.sigmoid_output = settings.sigmoid_output
        hidden = settings.dense_hidden
        self.first_DH = nn.Parameter(nn.init.xavier_uniform_(torch.empty(width, hidden)))
        self.inner_HH = nn.ParameterList(
            nn.init.xavier_uniform_(torch.empty(hidden, hidden)) for _ in range(settings.dense_layers - 1)
        )
        self.second_HD = nn.Parameter(nn.init.xavier_uniform_(torch.empty(hidden, width)))

    def forward(self, x_ND: Tensor) -> tuple[Tensor, None]:
        """Compute [N, D] -> [N, D]; there is nothing to balance."""
        return in_pieces(self._output, x_ND, 0, self.first_DH.shape[1], LAYER_ELEMENTS), None

    def _output(self, x_ND: Tensor) -> Tensor:
        hidden_NH = (with_common_number_of_rows(x_ND) @ self.first_DH).relu()
        for inner_HH in self.inner_HH:
            hidden_NH = (hidden_NH @ inner_HH).relu()
        y_ND = (hidden_NH @ self.second_HD)[: x_ND.shape[0]]
        return y_ND.sigmoid() if self.sigmoid_output else y_ND


POSITIONS_AT_ONCE = 8192


def call_in_parts(layer: nn.Module, x_ND: Tensor, length: int) -> tuple[Tensor, Balance | None]:
    """Call the layer on the real tokens of sequences that are ``length`` positions long with padding.

    In evaluation some tokens at a time where that is long; as many times on all processes that share the experts, as
    the length is that of the whole batch. There are no losses then.
    """
    num_parts = 1 if layer.training else -(-length // POSITIONS_AT_ONCE)
    if num_parts <= 1:
        result: tuple[Tensor, Balance | None] = layer(x_ND)
        return result
    outputs, balances = zip(*(layer(part_ND) for part_ND in x_ND.tensor_split(num_parts)), strict=True)
    return torch.cat(outputs), sum_of_balances(balances) if balances[0] is not None else None


def build_feed_forward(
    width: int,
    settings: MixtureOfExpertsSettings,
    parallelism: LayerParallelism = ONE_PROCESS_LAYER,
    noise: TokenNoise | None = None,
) -> MixtureOfExperts | DenseFeedForward:
    """Build the layer that ``model.moe.kind`` names."""
    if settings.kind == "dense":
        return DenseFeedForward(width, settings)
    return MixtureOfExperts(width, settings, parallelism, noise)


def build_gate(
    width: int,
    settings: MixtureOfExpertsSettings,
    parallelism: LayerParallelism = ONE_PROCESS_LAYER,
    noise: TokenNoise | None = None,
) -> Gate:
    """Build the gate that ``model.moe.gate`` names, of one level or, with ``model.moe.hierarchy``, of two."""
    levels, name = settings.hierarchy, settings.gate
    of_all: dict[str, Any] = {
        "width": width,
        "num_experts": settings.num_experts,
        "importance_loss_weight": settings.importance_loss_weight,
        "z_loss_weight": settings.z_loss_weight,
        "parallelism": parallelism,
    }
    of_noise: dict[str, Any] = {
        "load_loss_weight": settings.load_loss_weight,
        "noise_floor": settings.noise_floor,
        "noise": noise,
    }
    threshold, bias = settings.threshold_loss_weight, settings.choice_bias_rate
    if levels is None:
        of_all["experts_per_token"] = settings.experts_per_token
        if name == "strictly-balanced":
            return StrictlyBalancedGate(**of_all, threshold_loss_weight=threshold)
        if name == "expert-choice":
            return ExpertChoiceGate(**of_all, threshold_loss_weight=threshold)
        if name == "softmax":
            return SoftmaxGate(**of_all, choice_bias_rate=bias)
        if name == "sigmoid":
            return SigmoidGate(**of_all, choice_bias_rate=bias, scale=settings.gate_scale)
        assert name == "noisy-top-k", name
        return NoisyTopKGate(**of_all, **of_noise)
    of_all |= {
        "top_k_in_group": settings.top_k_in_group,
        "groups": levels.groups,
        "groups_per_token": levels.groups_per_token,
    }
    if name == "strictly-balanced":
        return HierarchicalBalancedGate(**of_all, threshold_loss_weight=threshold)
    if name == "noisy-top-k":
        return HierarchicalGate(**of_all, **of_noise)
    assert name in ("softmax", "sigmoid"), name
    return HierarchicalGate(**of_all, noise_floor=None, score=name, scale=settings.gate_scale, noise=noise)
