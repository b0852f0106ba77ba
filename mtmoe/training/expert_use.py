"""How the experts of each layer are used over a window of steps, and when that is worth a warning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from mtmoe.config.settings import Training
from mtmoe.distributed.mesh import ONE_PROCESS, Mesh
from mtmoe.model.gating import squared_variation
from mtmoe.model.routing import Balance

SHARES_LISTED = 64  # more experts than this are told of by the quantiles of their shares


class ExpertUse:
    """Sums of importance, token counts and losses of each layer since the last :meth:`reset`.

    Nothing is read from the device until the metrics are asked for. Then all processes must ask, and are told of the
    tokens of all.
    """

    def __init__(self, settings: Training, mesh: Mesh = ONE_PROCESS) -> None:
        self.settings, self.mesh = settings, mesh
        self._importance: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}
        self._losses: dict[str, Tensor] = {}
        self._num_batches: dict[str, int] = {}
        self._steps_overloaded: dict[str, int] = {}
        self._steps_dead: dict[str, int] = {}

    def add(self, balances: Mapping[str, Balance]) -> None:
        for layer, balance in balances.items():
            _add(self._importance, layer, balance.importance_E)
            _add(self._counts, layer, balance.counts_E)
            for name, loss in balance.losses.items():
                _add(self._losses, f"{layer}.{name}_loss", loss)
            self._num_batches[layer] = self._num_batches.get(layer, 0) + 1

    def reset(self) -> None:
        self._importance, self._counts, self._losses, self._num_batches = {}, {}, {}, {}

    def metrics(self) -> dict[str, Any]:
        """For each layer the columns of the paper's Table 6, the share of the tokens that each expert got, and the
        weighted losses (means over batches); and the worst layer's CV(load) as ``load_cv``."""
        result: dict[str, Any] = {}
        for layer, counts_E in self._counts.items():
            counts_E = self.mesh.add_up(counts_E.clone(), f"token counts of {layer}")
            load_E = counts_E.double()
            importance_E = self.mesh.add_up(self._importance[layer].clone(), f"importance of {layer}")
            result[f"{layer}.importance_cv"] = _variation(importance_E)
            result[f"{layer}.load_cv"] = _variation(load_E)
            result[f"{layer}.max_over_mean_load"] = float(load_E.max() / load_E.mean().clamp(min=1e-10))
            result[f"{layer}.dead_experts"] = int((counts_E == 0).sum())
            result |= _shares(layer, load_E / load_E.sum().clamp(min=1.0))
        for name, loss in self._losses.items():
            result[name] = float(loss) / self._num_batches[name.rpartition(".")[0]]
        worst = [result[f"{layer}.load_cv"] for layer in self._counts]
        return result | ({"load_cv": max(worst)} if worst else {})

    def warnings(self, metrics: Mapping[str, Any], num_steps: int) -> Iterator[str]:
        """Texts for layers that have been overloaded, or had a dead expert, for long enough; once each time."""
        limit, patience = self.settings.overload_warning_ratio, self.settings.overload_warning_steps
        for layer in self._counts:
            ratio, num_dead = metrics[f"{layer}.max_over_mean_load"], metrics[f"{layer}.dead_experts"]
            importance, load = "model.moe.importance_loss_weight", "model.moe.load_loss_weight"
            has_load = f"{layer}.load_loss" in self._losses
            if _passed(self._steps_overloaded, layer, ratio > limit, num_steps, patience):
                yield (
                    f"{layer}: the busiest expert has had more than {limit:g} times the mean load for {patience} steps "
                    f"(now {ratio:.1f}); raise {load if has_load else importance}"
                )
            if _passed(self._steps_dead, layer, num_dead > 0, num_steps, patience):
                yield (
                    f"{layer}: {int(num_dead)} of its experts have received no token for {patience} steps; raise "
                    f"{f'{importance} and {load}' if has_load else importance}"
                )


def _add(sums: dict[str, Tensor], key: str, value: Tensor) -> None:
    sums[key] = sums[key] + value.detach() if key in sums else value.detach()


def _shares(layer: str, share_E: Tensor) -> dict[str, Any]:
    """A list, in the order of the experts, or where that would be long the least, the middle and the largest."""
    if share_E.numel() <= SHARES_LISTED:
        return {f"{layer}.load_share": [round(share, 6) for share in share_E.tolist()]}
    names = ("min", "median", "max")
    values = share_E.quantile(share_E.new_tensor([0.0, 0.5, 1.0])).tolist()
    return {f"{layer}.load_share_{name}": value for name, value in zip(names, values, strict=True)}


def _variation(values_E: Tensor) -> float:
    return float(torch.sqrt(squared_variation(values_E)))


def _passed(steps: dict[str, int], layer: str, bad: bool, num_steps: int, patience: int) -> bool:
    """Count steps in a row; true in the window in which they reach the patience."""
    before = steps.get(layer, 0)
    steps[layer] = before + num_steps if bad else 0
    return before < patience <= steps[layer]
