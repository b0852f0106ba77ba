"""Early stopping: the values of the validations so far, which of them is the best, and when to give up."""

from __future__ import annotations

from collections.abc import Sequence

from mtmoe.config.settings import Validation


class ValidationHistory:
    """The values of the metric that chooses the best checkpoint.

    best: (step, value) of all validations, the best first; of equal values the earlier one.
    validations_without_progress: since the best one.
    """

    def __init__(self, settings: Validation) -> None:
        self.settings = settings
        self.best: list[tuple[int, float]] = []
        self.validations_without_progress = 0

    def add(self, step: int, value: float) -> None:
        """Take in the value that was measured after a step."""
        improved = not self.best or self._is_better(value, self.best[0][1])
        self.best = self._sorted([*self.best, (step, value)])
        self.validations_without_progress = 0 if improved else self.validations_without_progress + 1

    def replace(self, step: int, value: float) -> None:
        """Put another value in place of that of a step, whose weights have become others; it is no progress."""
        self.best = self._sorted([entry for entry in self.best if entry[0] != step] + [(step, value)])

    def must_stop(self) -> bool:
        """Return whether ``early_stopping.patience`` validations in a row have brought no progress."""
        stopping = self.settings.early_stopping
        return stopping is not None and self.validations_without_progress >= stopping.patience

    def best_steps(self, number: int) -> list[int]:
        """Return the steps of the ``number`` best validations, the best first."""
        return [step for step, _ in self.best[:number]]

    def load_state(self, metric: str, best: Sequence[tuple[int, float]], validations_without_progress: int) -> None:
        """Go on with the history of a checkpoint, unless it is of another metric, whose values cannot be compared."""
        if metric == self.settings.metric:
            self.best = list(best)
            self.validations_without_progress = validations_without_progress

    def _sorted(self, entries: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
        sign = -1 if self.settings.metric == "bleu" else 1
        return sorted(entries, key=lambda entry: (sign * entry[1], entry[0]))

    def _is_better(self, value: float, best: float) -> bool:
        return value > best if self.settings.metric == "bleu" else value < best
