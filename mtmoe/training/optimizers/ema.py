"""EMA: exponential moving average of the weights."""

from __future__ import annotations

import torch
from torch import nn

from mtmoe.config.settings import Ema
from mtmoe.system.torch_internals import lerp_each


class ExponentialMovingAverage:
    """The average of a model's parameters, in a model of its own that is used for inference.

    After update t the decay is ``min(decay, (1 + t) / (10 + t))``, so that the first weights are soon forgotten. The
    average is updated every ``every_steps`` optimizer updates with that decay to the power of ``every_steps``: a pass
    over all weights is not cheap.
    """

    def __init__(self, averaged: nn.Module, settings: Ema) -> None:
        self.averaged, self.settings = averaged, settings
        self._targets = [p.detach() for p in averaged.parameters()]

    @torch.no_grad()
    def update(self, model: nn.Module, num_updates: int) -> None:
        """Take in the weights after the optimizer's update ``num_updates``, counted from 1, when its turn has come.

        The first ``every_steps - 1`` updates are all taken in, each with its own decay.
        """
        every = self.settings.every_steps
        if num_updates % every and num_updates >= every:
            return
        decay = min(self.settings.decay, (1 + num_updates) / (10 + num_updates))
        decay = decay**every if num_updates >= every else decay
        weights = [p.detach().to(t.dtype) for p, t in zip(model.parameters(), self._targets, strict=True)]
        lerp_each(self._targets, weights, 1 - decay)
