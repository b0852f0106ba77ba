"""Mixture: how often an epoch goes through each part of the training text, which may change on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mtmoe.config.settings.curriculum import WeightChange, stages_of
from mtmoe.data.prepared.corpus import Part
from mtmoe.errors import UserError


class _Stage(NamedTuple):
    """Weights of the parts, in their order. begin: the epoch from which they count, or how many batches are read
    before."""

    begin: int
    weights: tuple[float, ...]


class Mixture:
    """The weights of the parts of a corpus, by epoch or by the number of batches that were read."""

    def __init__(
        self, parts: Sequence[Part], changes: Sequence[WeightChange] = (), *, batches_per_step: int = 1
    ) -> None:
        """
        Args:
            changes: all count in epochs, or all in steps.
            batches_per_step: that one optimizer step reads.

        Raises:
            UserError: a change names a part that the corpus lacks.
        """
        names = [part.name for part in parts]
        for change in changes:
            if change.source not in names:
                raise UserError(
                    f"training.curriculum: no source of the text is named {change.source!r}; it has {', '.join(names)}",
                    fix="name one of them, or prepare the text anew",
                )
        self._by_step = any(change.from_step is not None for change in changes)
        scale = batches_per_step if self._by_step else 1
        weights = {part.name: part.weight for part in parts}
        self._stages = [
            _Stage(begin * scale, tuple(current[name] for name in names))
            for begin, current in stages_of(weights, changes)
        ]

    def weights(self, epoch: int, num_read: int) -> tuple[float, ...]:
        """Return the weights of an epoch that begins when so many batches have been read."""
        place = num_read if self._by_step else epoch
        return next(stage.weights for stage in reversed(self._stages) if stage.begin <= place)

    def cuts_after(self, num_read: int) -> bool:
        """Return whether an epoch that is under way ends once so many batches have been read, as weights change."""
        return self._by_step and any(stage.begin == num_read for stage in self._stages[1:])
