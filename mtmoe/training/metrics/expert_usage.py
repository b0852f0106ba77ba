"""Expert usage: importance, load and tokens of each MoE layer's experts, summed over a window of steps.

Letters: I batches, J importance, load and tokens of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from mtmoe.checkpoint import ExpertUsageState, LayerUsageState
from mtmoe.distributed.mesh import ONE_PROCESS, Mesh
from mtmoe.model.moe.routing import Balance
from mtmoe.training.metrics.records import LayerMetrics

FIGURES = ("importance_cv", "load_cv", "max_over_mean_load", "tokens_cv", "max_over_mean_tokens")
_NUMBERS_WAITING = 1 << 20  # of a layer's vectors, before they are made into figures: 8 MiB


@dataclass
class LayerUsage:
    """Sums over the batches of one layer since the last reset, of the rows of all processes.

    tokens_E: tokens that each expert received, int64. figures: by the names in :data:`FIGURES`. losses: weighted
    auxiliary losses by name. waiting: batches that are not in the sums yet.
    """

    tokens_E: np.ndarray
    num_batches: int = 0
    figures: dict[str, float] = field(default_factory=lambda: dict.fromkeys(FIGURES, 0.0))
    losses: dict[str, float] = field(default_factory=dict)
    waiting: list[Balance] = field(default_factory=list)

    @property
    def max_over_mean_tokens(self) -> float:
        """Tokens of the busiest expert, divided by the mean."""
        mean = self.tokens_E.mean()
        return float(self.tokens_E.max() / mean) if mean else 0.0

    @property
    def num_dead(self) -> int:
        """Number of experts that have received no token."""
        return int((self.tokens_E == 0).sum())

    def metrics(self) -> LayerMetrics:
        """Return means over the batches, and what the experts received in all."""
        count = max(1, self.num_batches)
        return LayerMetrics(
            **{name: total / count for name, total in self.figures.items()},
            dead_experts=self.num_dead,
            token_share_E=tuple((self.tokens_E / max(1, self.tokens_E.sum())).tolist()),
            auxiliary_losses={name: total / count for name, total in self.losses.items()},
        )


class ExpertUsage:
    """Sums over the batches since the last :meth:`reset`, for each layer.

    Nothing is read from the device until many batches have come, or the sums are asked for. All processes must call the
    same methods, and get the sums over the rows of all. A sum is made batch by batch, and so has the same bits whenever
    that is done.
    """

    def __init__(self, mesh: Mesh = ONE_PROCESS) -> None:
        self.mesh = mesh
        self._layers: dict[str, LayerUsage] = {}

    def add(self, balances: Mapping[str, Balance]) -> None:
        """Take in one batch, by layer."""
        for layer, balance in balances.items():
            num_experts = balance.token_counts_E.numel()
            usage = self._layers.setdefault(layer, LayerUsage(np.zeros(num_experts, np.int64)))
            losses = {name: loss.detach() for name, loss in balance.auxiliary_losses.items()}
            usage.waiting.append(
                Balance(balance.importance_E.detach(), balance.load_E.detach(), balance.token_counts_E, losses)
            )
            if 3 * num_experts * len(usage.waiting) >= _NUMBERS_WAITING:
                self._sum_up(layer, usage)

    def reset(self) -> None:
        """Forget all batches: a new window begins."""
        self._layers = {}

    def layers(self) -> dict[str, LayerUsage]:
        """Return the sums of each layer, with all batches in them."""
        for layer, usage in self._layers.items():
            self._sum_up(layer, usage)
        return dict(self._layers)

    def metrics(self) -> dict[str, LayerMetrics]:
        """Return the metrics of each layer."""
        return {layer: usage.metrics() for layer, usage in self.layers().items()}

    def state(self) -> ExpertUsageState:
        """Return the sums for a checkpoint."""
        return ExpertUsageState(
            layers={
                layer: LayerUsageState(
                    tokens=tuple(usage.tokens_E.tolist()),
                    num_batches=usage.num_batches,
                    figures=dict(usage.figures),
                    losses=dict(usage.losses),
                )
                for layer, usage in self.layers().items()
            }
        )

    def load_state(self, state: ExpertUsageState) -> None:
        """Set the sums to what :meth:`state` returned."""
        self._layers = {
            layer: LayerUsage(
                np.array(usage.tokens, np.int64),
                usage.num_batches,
                {name: usage.figures.get(name, 0.0) for name in FIGURES},
                dict(usage.losses),
            )
            for layer, usage in state.layers.items()
        }

    def _sum_up(self, layer: str, usage: LayerUsage) -> None:
        """Add the waiting batches up over all processes."""
        if not usage.waiting:
            return
        balances, usage.waiting = usage.waiting, []
        vectors = [torch.stack([vector_E.double() for vector_E in balance[:3]]) for balance in balances]
        totals_IJE = self.mesh.add_up(torch.stack(vectors), f"the use of {layer}").cpu().numpy()
        for figures in _figures(*totals_IJE.transpose(1, 0, 2)):
            for name, figure in zip(FIGURES, figures, strict=True):
                usage.figures[name] += figure
        usage.tokens_E += totals_IJE[:, 2].sum(0).astype(np.int64)
        usage.num_batches += len(balances)
        for name in balances[0].auxiliary_losses:  # of the rows of all processes already
            for loss in torch.stack([balance.auxiliary_losses[name] for balance in balances]).tolist():
                usage.losses[name] = usage.losses.get(name, 0.0) + loss


def _figures(importance_IE: np.ndarray, load_IE: np.ndarray, tokens_IE: np.ndarray) -> list[list[float]]:
    """Return the :data:`FIGURES` of each of I batches."""
    load_cv, tokens_cv = _variation(load_IE), _variation(tokens_IE)
    columns = _variation(importance_IE), load_cv, _peak(load_IE), tokens_cv, _peak(tokens_IE)
    result: list[list[float]] = np.stack(columns, axis=1).tolist()
    return result


def _variation(values_IE: np.ndarray) -> np.ndarray:
    """Return the CV with the population's variance, [I]; 0 where all values are 0."""
    found: np.ndarray = values_IE.std(1) / _mean_or_one(values_IE)
    return found


def _peak(values_IE: np.ndarray) -> np.ndarray:
    """Return max / mean, [I]; 0 where all values are 0."""
    found: np.ndarray = values_IE.max(1) / _mean_or_one(values_IE)
    return found


def _mean_or_one(values_IE: np.ndarray) -> np.ndarray:
    mean_I = values_IE.mean(1)
    return np.where(mean_I == 0, 1.0, mean_I)
