"""Batch sharding: each process's share of a batch that all processes know."""

from __future__ import annotations

import torch
from torch import Tensor

from mtmoe.data.batches.padding import Batch
from mtmoe.distributed.mesh import Mesh


def own_sentences(batch: Batch, mesh: Mesh) -> tuple[Batch, Tensor]:
    """Return every P-th sentence of the batch, which may be none, and the numbers in the batch of those sentences.

    Batches are sorted by length, so these have about as many tokens as every other share. The width stays that of
    the whole batch: what is drawn at random position by position is drawn equally often everywhere.
    """
    numbers_B = torch.arange(batch.source_BS.shape[0])[mesh.rank :: mesh.size]
    if mesh.size == 1:
        return batch, numbers_B
    return Batch(*(tensor[mesh.rank :: mesh.size].contiguous() for tensor in batch)), numbers_B


def of_all_sentences(own_B: Tensor, mesh: Mesh) -> Tensor:
    """Gather what the processes have of their own sentences, in the order of the batch. All must call it."""
    if mesh.size == 1:
        return own_B
    num_sentences = int(mesh.add_up(torch.tensor(own_B.shape[0], device=own_B.device), "carried rows"))
    all_B = own_B.new_zeros(num_sentences, *own_B.shape[1:])
    all_B[mesh.rank :: mesh.size] = own_B
    return mesh.add_up(all_B, "carried states")
