"""How the experts of each layer are used over a window of steps, and when that is worth a warning.

Letters: I batches, J vectors of a balance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from mtmoe.checkpoint import ExpertUsageState
from mtmoe.config.settings import Training
from mtmoe.distributed.mesh import ONE_PROCESS, Mesh
from mtmoe.model.moe.routing import Balance

SHARES_LISTED = 64  # more experts than this are told of by the quantiles of their shares
FIGURES = ("importance_cv", "load_cv", "max_over_mean_load", "tokens_cv", "max_over_mean_tokens")
_NUMBERS_WAITING = 1 << 20  # of a layer's vectors, before they are made into figures: 8 MiB


@dataclass
class _LayerUsage:
    """Of one layer since the last reset. Sums over its batches, each of the rows of all processes.

    tokens_E: that each expert received, int64. waiting: batches that are not in the sums yet.
    """

    tokens_E: np.ndarray
    num_batches: int = 0
    figures: dict[str, float] = field(default_factory=lambda: dict.fromkeys(FIGURES, 0.0))
    losses: dict[str, float] = field(default_factory=dict)
    waiting: list[Balance] = field(default_factory=list)

    @property
    def max_over_mean(self) -> float:
        """Tokens of the busiest expert, as a multiple of the mean."""
        mean = self.tokens_E.mean()
        return float(self.tokens_E.max() / mean) if mean else 0.0

    @property
    def num_dead(self) -> int:
        """Experts that have received no token."""
        return int((self.tokens_E == 0).sum())


class ExpertUsage:
    """Sums over the batches since the last :meth:`reset`: of the figures of each layer, its tokens and its losses.

    Nothing is read from the device until many batches have come, the metrics are asked for, or the state. All processes
    must do the same, and are told of the rows of all. A sum is made batch by batch, and so has the same bits whenever
    that is done.
    """

    def __init__(self, settings: Training, mesh: Mesh = ONE_PROCESS) -> None:
        self.settings, self.mesh = settings, mesh
        self._layers: dict[str, _LayerUsage] = {}
        self._steps_overloaded: dict[str, int] = {}
        self._steps_dead: dict[str, int] = {}

    def add(self, balances: Mapping[str, Balance]) -> None:
        """Take in one batch."""
        for layer, balance in balances.items():
            num_experts = balance.token_counts_E.numel()
            use = self._layers.setdefault(layer, _LayerUsage(np.zeros(num_experts, np.int64)))
            losses = {name: loss.detach() for name, loss in balance.auxiliary_losses.items()}
            use.waiting.append(
                Balance(balance.importance_E.detach(), balance.load_E.detach(), balance.token_counts_E, losses)
            )
            if 3 * num_experts * len(use.waiting) >= _NUMBERS_WAITING:
                self._sum_up(layer, use)

    def reset(self) -> None:
        """Begin another window; for how long a layer has been badly used goes on."""
        self._layers = {}

    def metrics(self) -> dict[str, Any]:
        """Means over batches and sums over the window.

        Of each layer, as means over its batches, the columns of the paper's Table 6: ``importance_cv`` (CV of eq. 6),
        ``load_cv`` and ``max_over_mean_load`` (of the load of eq. 10; of the tokens where a gate draws no noise);
        ``tokens_cv`` and ``max_over_mean_tokens``, the same of the numbers of tokens that the experts really received;
        and the weighted losses. Over the whole window the share of the tokens that each expert got, and how many
        experts got none. And the worst layer's ``load_cv``.
        """
        result: dict[str, Any] = {}
        for layer, use in self._summed_up():
            count = max(1, use.num_batches)
            result |= {f"{layer}.{name}": total / count for name, total in use.figures.items()}
            result[f"{layer}.dead_experts"] = use.num_dead
            result |= _shares(layer, use.tokens_E / max(1, use.tokens_E.sum()))
            result |= {f"{layer}.{name}_loss": total / count for name, total in use.losses.items()}
        worst = [result[f"{layer}.load_cv"] for layer in self._layers]
        return result | ({"load_cv": max(worst)} if worst else {})

    def warnings(self, num_steps: int) -> Iterator[str]:
        """Texts for layers that have been overloaded, or had a dead expert, for long enough; once each time."""
        limit, patience = self.settings.overload_warning_ratio, self.settings.overload_warning_steps
        for layer, use in self._summed_up():
            ratio, num_dead = use.max_over_mean, use.num_dead
            importance, load = "model.moe.importance_loss_weight", "model.moe.load_loss_weight"
            has_load = "load" in use.losses
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

    def state(self) -> dict[str, Any]:
        """Everything, as plain numbers for a checkpoint."""
        layers = {
            layer: {
                "tokens": use.tokens_E.tolist(),
                "num_batches": use.num_batches,
                "figures": dict(use.figures),
                "losses": dict(use.losses),
            }
            for layer, use in self._summed_up()
        }
        return {
            "layers": layers,
            "steps_overloaded": dict(self._steps_overloaded),
            "steps_dead": dict(self._steps_dead),
        }

    def load_state(self, state: ExpertUsageState) -> None:
        """Set everything to what :meth:`state` has told."""
        self._steps_overloaded, self._steps_dead = dict(state.steps_overloaded), dict(state.steps_dead)
        self._layers = {
            layer: _LayerUsage(
                np.array(use.tokens, np.int64),
                use.num_batches,
                {name: use.figures.get(name, 0.0) for name in FIGURES},
                dict(use.losses),
            )
            for layer, use in state.layers.items()
        }

    def _summed_up(self) -> Iterator[tuple[str, _LayerUsage]]:
        for layer, use in self._layers.items():
            self._sum_up(layer, use)
            yield layer, use

    def _sum_up(self, layer: str, use: _LayerUsage) -> None:
        if not use.waiting:
            return
        balances, use.waiting = use.waiting, []
        vectors = [torch.stack([vector_E.double() for vector_E in balance[:3]]) for balance in balances]
        totals_IJE = self.mesh.add_up(torch.stack(vectors), f"the use of {layer}").cpu().numpy()
        for figures in _figures(*totals_IJE.transpose(1, 0, 2)):
            for name, figure in zip(FIGURES, figures, strict=True):
                use.figures[name] += figure
        use.tokens_E += totals_IJE[:, 2].sum(0).astype(np.int64)
        use.num_batches += len(balances)
        for name in balances[0].auxiliary_losses:  # of the rows of all processes already
            for loss in torch.stack([balance.auxiliary_losses[name] for balance in balances]).tolist():
                use.losses[name] = use.losses.get(name, 0.0) + loss


def _figures(importance_IE: np.ndarray, load_IE: np.ndarray, tokens_IE: np.ndarray) -> list[list[float]]:
    """Those of :data:`FIGURES`, of each batch."""
    load_cv, tokens_cv = _variation(load_IE), _variation(tokens_IE)
    columns = _variation(importance_IE), load_cv, _peak(load_IE), tokens_cv, _peak(tokens_IE)
    result: list[list[float]] = np.stack(columns, axis=1).tolist()
    return result


def _variation(values_IE: np.ndarray) -> np.ndarray:
    """CV with the population's variance, [I]; 0 where all values are."""
    found: np.ndarray = values_IE.std(1) / _mean_or_one(values_IE)
    return found


def _peak(values_IE: np.ndarray) -> np.ndarray:
    """max / mean, [I]; 0 where all values are."""
    found: np.ndarray = values_IE.max(1) / _mean_or_one(values_IE)
    return found


def _mean_or_one(values_IE: np.ndarray) -> np.ndarray:
    mean_I = values_IE.mean(1)
    return np.where(mean_I == 0, 1.0, mean_I)


def _shares(layer: str, share_E: np.ndarray) -> dict[str, Any]:
    """A list, in the order of the experts, or where that would be long the least, the middle and the largest."""
    if len(share_E) <= SHARES_LISTED:
        return {f"{layer}.token_share": [round(share, 6) for share in share_E.tolist()]}
    values = np.quantile(share_E, (0.0, 0.5, 1.0)).tolist()
    return {f"{layer}.token_share_{name}": value for name, value in zip(("min", "median", "max"), values, strict=True)}


def _passed(steps: dict[str, int], layer: str, bad: bool, num_steps: int, patience: int) -> bool:
    """Count steps in a row; true in the window in which they reach the patience."""
    before = steps.get(layer, 0)
    steps[layer] = before + num_steps if bad else 0
    return before < patience <= steps[layer]
