"""How the experts of each layer are used over a window of steps, and when that is worth a warning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from mtmoe.config.settings import Training
from mtmoe.model.gating import squared_variation
from mtmoe.model.routing import Balance


class ExpertUse:
    """Sums of importance and token counts of each layer since the last :meth:`reset`.

    Nothing is read from the device until the metrics are asked for.
    """

    def __init__(self, settings: Training) -> None:
        self.settings = settings
        self._importance: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}
        self._steps_overloaded: dict[str, int] = {}
        self._steps_dead: dict[str, int] = {}

    def add(self, balances: Mapping[str, Balance]) -> None:
        for layer, balance in balances.items():
            importance_E, counts_E = balance.importance_E.detach(), balance.counts_E
            if layer in self._counts:
                self._importance[layer] += importance_E
                self._counts[layer] += counts_E
            else:
                self._importance[layer], self._counts[layer] = importance_E.clone(), counts_E.clone()

    def reset(self) -> None:
        self._importance, self._counts = {}, {}

    def metrics(self) -> dict[str, float]:
        """Columns of the paper's Table 6 for each layer, and the worst layer's CV(load) as ``load_cv``."""
        result: dict[str, float] = {}
        for layer, counts_E in self._counts.items():
            load_E = counts_E.float()
            result[f"{layer}.importance_cv"] = _variation(self._importance[layer])
            result[f"{layer}.load_cv"] = _variation(load_E)
            result[f"{layer}.max_over_mean_load"] = float(load_E.max() / load_E.mean().clamp(min=1e-10))
            result[f"{layer}.dead_experts"] = int((counts_E == 0).sum())
        worst = [value for key, value in result.items() if key.endswith(".load_cv")]
        return result | ({"load_cv": max(worst)} if worst else {})

    def warnings(self, metrics: Mapping[str, float], num_steps: int) -> Iterator[str]:
        """Texts for layers that have been overloaded, or had a dead expert, for long enough; once each time."""
        limit, patience = self.settings.overload_warning_ratio, self.settings.overload_warning_steps
        for layer in self._counts:
            ratio, num_dead = metrics[f"{layer}.max_over_mean_load"], metrics[f"{layer}.dead_experts"]
            if _passed(self._steps_overloaded, layer, ratio > limit, num_steps, patience):
                yield (
                    f"{layer}: the busiest expert has had more than {limit:g} times the mean load for {patience} steps "
                    f"(now {ratio:.1f}); raise model.moe.load_loss_weight"
                )
            if _passed(self._steps_dead, layer, num_dead > 0, num_steps, patience):
                yield (
                    f"{layer}: {int(num_dead)} of its experts have received no token for {patience} steps; raise "
                    "model.moe.importance_loss_weight and model.moe.load_loss_weight"
                )


def _variation(values_E: Tensor) -> float:
    return float(torch.sqrt(squared_variation(values_E)))


def _passed(steps: dict[str, int], layer: str, bad: bool, num_steps: int, patience: int) -> bool:
    """Count steps in a row; true in the window in which they reach the patience."""
    before = steps.get(layer, 0)
    steps[layer] = before + num_steps if bad else 0
    return before < patience <= steps[layer]
