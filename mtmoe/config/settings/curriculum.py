"""``[[training.curriculum]]``: weights of the sources of training text that change on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated

from pydantic import Field, model_validator

from mtmoe.config.settings.base import Settings, StepsOrNone, Unit


class WeightChange(Settings):
    """Another weight of one source, from an epoch or from a step on: staged training, such as back-translated text
    first and then clean."""

    source: str = Field(min_length=1, description="Name of a source of data.train; replay is that of data.replay.")
    weight: float = Field(
        ge=0, le=1000, description="Times that an epoch goes through the source from then on; 0: not at all."
    )
    from_epoch: Annotated[int, Unit("epochs")] | None = Field(
        default=None, ge=0, le=1_000_000, description="The first epoch, from 0, that has the weight."
    )
    from_step: StepsOrNone | None = Field(
        default=None,
        description="Steps before it changes. The epoch that is under way ends there, and another begins.",
    )

    @property
    def begin(self) -> int:
        """Return the epoch or the step from which it counts."""
        return next(number for number in (self.from_epoch, self.from_step) if number is not None)

    @model_validator(mode="after")
    def _at_one_time(self) -> WeightChange:
        if (self.from_epoch is None) == (self.from_step is None):
            raise ValueError(
                f"from_epoch = {self.from_epoch} and from_step = {self.from_step} of {self.source!r}: give one of them"
            )
        return self


def stages_of(weights: Mapping[str, float], changes: Iterable[WeightChange]) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield, in order, from which epoch or step on which weights count; the first from 0.

    Args:
        weights: of all sources by name, as ``data.train`` has them.
    """
    changes = sorted(changes, key=lambda change: change.begin)
    current = dict(weights)
    for begin in sorted({0, *(change.begin for change in changes)}):
        current = current | {change.source: change.weight for change in changes if change.begin == begin}
        yield begin, current


def check_curriculum(changes: tuple[WeightChange, ...], weights: Mapping[str, float]) -> None:
    """Check the changes against each other and against the sources.

    Raises:
        ValueError: some count from epochs and others from steps; two are of one source at one time; a source is
            unknown; a stage has no text.
    """
    kinds = {change.from_epoch is None for change in changes}
    if len(kinds) > 1:
        by_step = next(change for change in changes if change.from_epoch is None)
        by_epoch = next(change for change in changes if change.from_epoch is not None)
        raise ValueError(
            f"training.curriculum: from_step = {by_step.from_step} of {by_step.source!r} and from_epoch = "
            f"{by_epoch.from_epoch} of {by_epoch.source!r}; count all of them in epochs, or all in steps"
        )
    seen: dict[tuple[str, int], float] = {}
    for change in changes:
        if change.source not in weights:
            known = ", ".join(weights)
            raise ValueError(f"training.curriculum: no source is named {change.source!r}; there are {known}")
        if (change.source, change.begin) in seen:
            raise ValueError(
                f"training.curriculum: weight = {change.weight} and weight = {seen[change.source, change.begin]} of "
                f"{change.source!r} both from {change.begin} on"
            )
        seen[change.source, change.begin] = change.weight
    for begin, current in stages_of(weights, changes):
        if not any(current.values()):
            raise ValueError(f"training.curriculum: from {begin} on all weights are 0, and there is no text")
