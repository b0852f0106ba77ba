"""Stochastic rounding: experts whose weights are stored in bf16, and updates of them that are not lost on average."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mtmoe.model.moe.experts import Experts


def keep_experts_in_bf16(model: nn.Module) -> None:
    """Convert the experts' matrices to bf16 in place (``expert_weights = "bf16"``); gradients follow suit."""
    for experts in (module for module in model.modules() if isinstance(module, Experts)):
        for stack in experts.parameters():
            stack.data = stack.data.to(torch.bfloat16)


def round_stochastically(x: Tensor, generator: torch.Generator) -> Tensor:
    """Round finite float32 numbers in place to one of the two bf16 numbers next to each; the result is still float32.

    The nearer neighbour is the likelier, in such a way that the mean is x: bf16 is the upper half of float32's bits,
    to which a carry goes over with the probability that the lower half is of a whole.
    """
    carry = torch.empty_like(x, dtype=torch.int32).random_(0, 1 << 16, generator=generator)
    x.view(torch.int32).add_(carry).bitwise_and_(-(1 << 16))
    return x


def keyed_generator(device: torch.device, *key: int) -> torch.Generator:
    """Return a generator that the device and a few small numbers determine."""
    low, high = (int(word) for word in np.random.SeedSequence(key).generate_state(2, np.uint32))
    return torch.Generator(device).manual_seed(high << 32 | low)
