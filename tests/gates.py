"""The gates for their tests, and the paper's equations written out one number at a time."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mtmoe.config.settings import Hierarchy, MixtureOfExpertsSettings
from mtmoe.model.moe.gating import Gate
from mtmoe.model.moe.moe_layer import build_gate

WIDTH = 8
TWO_LEVEL_GATES = ("noisy-top-k", "softmax", "strictly-balanced", "sigmoid")
GATES = [*((gate, two) for gate in TWO_LEVEL_GATES for two in (False, True)), ("expert-choice", False)]
WITH_THRESHOLDS = ("strictly-balanced", "expert-choice")
TOP_K_GATES = [(gate, two) for gate, two in GATES if gate not in WITH_THRESHOLDS]


def make_gate(
    gate: str,
    two_levels: bool,
    num_experts: int = 12,
    k: int = 2,
    groups: int = 3,
    groups_per_token: int = 2,
    **settings_of_gate: Any,
) -> Gate:
    """A gate in training, with random weights that spread the tokens over all experts."""
    levels = Hierarchy(groups=groups, groups_per_token=groups_per_token) if two_levels else None
    noisy = {"load_loss_weight": 0.2, "noise_floor": 0.03} if gate == "noisy-top-k" else {}
    settings = MixtureOfExpertsSettings(
        gate=gate,  # type: ignore[arg-type]
        num_experts=num_experts,
        experts_per_token=k * groups_per_token if two_levels else k,
        hierarchy=levels,
        importance_loss_weight=0.1,
        **noisy,
        **settings_of_gate,
    )
    made = build_gate(WIDTH, settings)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in sorted(made.named_parameters()):
            if "threshold" not in name and "bias" not in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return made.train()


def quasi_noise(clean: Tensor) -> Tensor:
    """In place of random noise: a function of the logit, so that any part of a batch draws what the whole does."""
    return torch.cos(50.0 * clean.detach())


def squared_cv(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / len(values) / mean**2


def best(values: Tensor, k: int) -> list[int]:
    return sorted(range(len(values)), key=lambda i: -values[i].item())[:k]


def probability(clean_E: Tensor, std_E: Tensor, noisy_E: Tensor, i: int, k: int) -> Tensor:
    """Eqs. 8 and 9 for one token: kth_excluding by leaving i out, Phi by erf."""
    others = [noisy_E[j] for j in range(len(noisy_E)) if j != i]
    kth_excluding = sorted(others, key=lambda value: -value.item())[k - 1]
    return 0.5 * (1 + torch.erf((clean_E[i] - kth_excluding) / std_E[i] / math.sqrt(2.0)))


def level(
    x_D: Tensor, gate_DE: Tensor, noise_DE: Tensor | None, floor: float, k: int
) -> tuple[dict[int, Tensor], list[Tensor]]:
    """Eqs. 2-5 for one token: {expert: gate}, and P of each expert (the count where there is no noise or choice)."""
    clean_E, num_experts = x_D @ gate_DE, gate_DE.shape[1]
    std_E = None if noise_DE is None else torch.log1p(torch.exp(x_D @ noise_DE)) + floor
    noisy_E = clean_E if std_E is None else clean_E + quasi_noise(clean_E) * std_E
    kept = best(noisy_E, k)
    total = sum(torch.exp(noisy_E[i]) for i in kept)
    gates = {i: torch.exp(noisy_E[i]) / total for i in kept}
    if std_E is None or k == num_experts:
        return gates, [torch.tensor(float(i in kept)).to(x_D) for i in range(num_experts)]
    return gates, [probability(clean_E, std_E, noisy_E, i, k) for i in range(num_experts)]
