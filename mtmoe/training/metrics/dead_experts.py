"""Dead and overloaded experts: warnings for layers whose experts are used badly for long."""

from __future__ import annotations

from collections.abc import Mapping

from mtmoe.checkpoint import ExpertWarningsState
from mtmoe.config.settings import Training
from mtmoe.training.metrics.expert_usage import LayerUsage


class ExpertWarnings:
    """Counts, for each layer, the steps in a row in which it was overloaded or had a dead expert.

    A layer is overloaded when its busiest expert has received more than ``overload_warning_ratio`` times the mean; an
    expert is dead when it has received no token. After ``overload_warning_steps`` of them there is one warning, and
    another one only after the layer has been used well in between.
    """

    def __init__(self, settings: Training) -> None:
        self.settings = settings
        self._steps_overloaded: dict[str, int] = {}
        self._steps_dead: dict[str, int] = {}

    def add(self, layers: Mapping[str, LayerUsage], num_steps: int) -> list[str]:
        """Take in the use of the experts over ``num_steps`` more steps; return the texts of the warnings due now."""
        due: list[str] = []
        limit, patience = self.settings.overload_warning_ratio, self.settings.overload_warning_steps
        importance, load = "model.moe.importance_loss_weight", "model.moe.load_loss_weight"
        for layer, usage in layers.items():
            ratio, num_dead = usage.max_over_mean_tokens, usage.num_dead
            has_load = "load" in usage.losses
            if _reaches(self._steps_overloaded, layer, ratio > limit, num_steps, patience):
                due.append(
                    f"{layer}: the busiest expert has had more than {limit:g} times the mean load for {patience} steps "
                    f"(now {ratio:.1f}); raise {load if has_load else importance}"
                )
            if _reaches(self._steps_dead, layer, num_dead > 0, num_steps, patience):
                due.append(
                    f"{layer}: {num_dead} of its experts have received no token for {patience} steps; raise "
                    f"{f'{importance} and {load}' if has_load else importance}"
                )

        return due

    def state(self) -> ExpertWarningsState:
        """Return the counts for a checkpoint."""
        return ExpertWarningsState(steps_overloaded=dict(self._steps_overloaded), steps_dead=dict(self._steps_dead))

    def load_state(self, state: ExpertWarningsState) -> None:
        """Set the counts to what :meth:`state` returned."""
        self._steps_overloaded, self._steps_dead = dict(state.steps_overloaded), dict(state.steps_dead)


def _reaches(steps: dict[str, int], layer: str, is_bad: bool, num_steps: int, patience: int) -> bool:
    """Count the bad steps in a row; return whether they reach the patience now, and had not before."""
    before = steps.get(layer, 0)
    steps[layer] = before + num_steps if is_bad else 0
    return before < patience <= steps[layer]
