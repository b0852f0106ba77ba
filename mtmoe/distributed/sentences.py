"""A process's share of a batch that all processes know."""

from __future__ import annotations

import torch
from torch import Tensor

from mtmoe.data.padding import Batch
from mtmoe.distributed.mesh import Mesh


def own_sentences(batch: Batch, mesh: Mesh) -> tuple[Batch, Tensor]:
    """Every P-th sentence of the batch, which may be none, and the numbers in the batch of those sentences.

    Batches are sorted by length, so these have about as many tokens as every other share. The width stays that of
    the whole batch: what is drawn at random position by position is drawn equally often everywhere.
    """
    numbers_B = torch.arange(batch.source_BS.shape[0])[mesh.rank :: mesh.size]
    if mesh.size == 1:
        return batch, numbers_B
    return Batch(*(tensor[mesh.rank :: mesh.size].contiguous() for tensor in batch)), numbers_B
