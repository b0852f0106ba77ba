"""Interpolation: weights between those that a training began with and those that it came to.

On the straight line between the two a network keeps most of what it learned and forgets less of what it knew (Wortsman
et al. 2022, "Robust fine-tuning of zero-shot models").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mtmoe.data.prepared.replay import REPLAY
from mtmoe.training.metrics.records import InterpolationTrial, ModelQuality

_PARTS = 16  # of the line: a part is some tenths of BLEU
_MOST_TRIALS = 6


class Interpolation(NamedTuple):
    """trials: in their order, the first ones of step 0 and of the trained weights. chosen: the last of them; None where
    it loses too much of the old text, or gains nothing on the new one."""

    trials: tuple[InterpolationTrial, ...]
    chosen: InterpolationTrial | None


class WeightsBetween:
    """The weights between two ends, put into a model one share after another.

    They are computed in main memory, so that a device needs no room for more weights than the model's own.
    """

    def __init__(self, model: nn.Module, before: Mapping[str, Tensor]) -> None:
        """Take the model's weights as those after training; ``before`` has all of them by name."""
        self.model, self.before = model, before
        self.after = {name: p.detach().cpu().clone() for name, p in model.named_parameters()}

    def at(self, share: float) -> dict[str, Tensor]:
        """Return ``(1 - share) * before + share * after`` of each weight, in float32 and rounded to its type.

        At the ends they are those of before and after, to the bit.
        """
        return {
            name: torch.lerp(self.before[name].float(), after.float(), share).to(after.dtype)
            for name, after in self.after.items()
        }

    @torch.no_grad()
    def put(self, share: float) -> None:
        """Give the model the weights of a share; 1 gives it back its own."""
        weights = self.at(share)
        for name, parameter in self.model.named_parameters():
            parameter.copy_(weights[name])


def trial_of(share: float, quality: ModelQuality) -> InterpolationTrial:
    """Return BLEU of the old dev set, and the mean of all others; 0 where it is not known, as on all processes but the
    main one."""
    found = {name: of_set.bleu or 0.0 for name, of_set in quality.dev_sets.items()}
    old = found.pop(REPLAY, 0.0)
    return InterpolationTrial(share, sum(found.values()) / len(found) if found else 0.0, old)


def find_share(measure: Callable[[float], InterpolationTrial], most_lost: float) -> Interpolation:
    """Find the weights that are as near to the trained ones as the old text allows.

    The old text loses about as the square of the share does (docs/benchmarks/starting_from_a_run.md), so that what it
    loses by all of the training, which is measured best, tells the share. That is measured, too: where it loses more
    than it may, a smaller share is taken by the same law.

    Args:
        measure: called with one share after another.
        most_lost: BLEU that the old text may lose of that of share 0.
    """
    begun, trial = measure(0.0), measure(1.0)
    trials = [begun, trial]
    while (lost := begun.old_bleu - trial.old_bleu) > most_lost and len(trials) < _MOST_TRIALS:
        share = min(math.floor(trial.share * math.sqrt(most_lost / lost) * _PARTS), trial.share * _PARTS - 1) / _PARTS
        if share <= 0:
            break
        trial = measure(share)
        trials.append(trial)
    serves = begun.old_bleu - trial.old_bleu <= most_lost and trial.new_bleu > begun.new_bleu
    return Interpolation(tuple(trials), trial if serves else None)
