"""Gradient accumulation: the batches whose gradients make one optimizer step, and their weights in its loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from mtmoe.data.batches.token_batches import Batch, Position


class StepSize(NamedTuple):
    """What the batches of one step have together, on all processes. Padding counts in ``num_padded_tokens`` alone."""

    num_batches: int
    num_target_tokens: int
    num_source_tokens: int
    num_padded_tokens: int

    @classmethod
    def of(cls, batches: Sequence[Batch]) -> StepSize:
        """Return the size of a step of these batches."""
        return cls(
            len(batches),
            sum(batch.num_target_tokens for batch in batches),
            sum(batch.num_source_tokens for batch in batches),
            sum(batch.source_BS.numel() + batch.target_BT[:, 1:].numel() for batch in batches),
        )

    def objective(self, loss_sum: Tensor, auxiliary_loss: Tensor) -> Tensor:
        """Return the part of one batch in what the step minimises, a scalar.

        The sum over all parts is the mean loss over the step's target tokens, however they are divided into batches and
        between processes, and the mean auxiliary loss over its batches.

        Args:
            loss_sum: over the batch's target tokens, in nats.
            auxiliary_loss: of the batch, already divided by ``num_batches``.
        """
        return loss_sum / self.num_target_tokens + auxiliary_loss


def next_step_batches(batches: Iterator[tuple[Batch, Position]], num_batches: int) -> tuple[list[Batch], Position]:
    """Read the batches of one step; return them and the position of the batch after them."""
    group = []
    for _ in range(num_batches):
        batch, position = next(batches)
        group.append(batch)
    return group, position
