"""Teachers at work: networks that read a batch along with the one that is trained, and say what they find likely.

Letters: M some of the tokens.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from mtmoe.config.settings import Distillation
from mtmoe.data.batches.padding import Batch
from mtmoe.model.building import Network
from mtmoe.training.losses.distillation import with_exact_top_k
from mtmoe.training.losses.taught_cross_entropy import Taught


class Teachers:
    """Networks in evaluation mode over one vocabulary: no dropout, no noise, no gradients."""

    def __init__(self, networks: Sequence[Network], settings: Distillation) -> None:
        self.networks, self.settings = tuple(networks), settings

    def read(self, batch: Batch, dtype: torch.dtype) -> Taught:
        """Read a batch by teacher forcing; return the probabilities at its real target tokens, for some at a time.

        Computed in the precision of autocast, and the output layer's products in ``dtype``. [N, V] is never there as a
        whole.
        """
        with torch.inference_mode():
            hidden = [network(batch).hidden_ND.to(dtype) for network in self.networks]
            outputs = [network.output_VD.to(dtype) for network in self.networks]

        def probabilities(part: slice) -> Tensor:
            with torch.inference_mode():
                logits = [own_ND[part] @ own_VD.t() for own_ND, own_VD in zip(hidden, outputs, strict=True)]
                mean_MV = mean_probabilities(logits, self.settings.temperature)
                return with_exact_top_k(mean_MV, self.settings.top_k)

        return probabilities


def mean_probabilities(logits: Sequence[Tensor], temperature: float) -> Tensor:
    """Return the mean of softmax(logits / temperature) over the teachers, each [M, V], in float32 or wider."""
    wide = [own_MV.to(torch.promote_types(torch.float32, own_MV.dtype)) for own_MV in logits]
    total_MV = functools.reduce(torch.Tensor.add_, ((own_MV / temperature).softmax(1) for own_MV in wide))
    return total_MV / len(wide)
