"""Strict balancing over several processes: every expert gets its best tokens of all of them, exactly m."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mtmoe.distributed.balanced_rows import BalancedRows
from mtmoe.distributed.mesh import joined_processes
from mtmoe.model.moe.gating.balanced import best_rows, best_rows_of_all, rows_per_expert
from tests.distributed.processes.group import run_group
from tests.distributed.processes.recipes import small_recipe
from tests.distributed.processes.workers import CPU

NUM_EXPERTS = 5  # which three processes answer for two, two and one; of four, the last for none


def chosen(parts: list[np.ndarray], ks: list[int]) -> list[np.ndarray]:
    """The masks that this process gets of its part, one for each k."""
    with joined_processes(small_recipe(), CPU) as mesh:
        values_NE = torch.from_numpy(parts[mesh.rank])
        rows, masks = BalancedRows(mesh, "encoder.moe1"), []
        for k in ks:
            num_rows, most = rows.count(values_NE.shape[0])
            m = rows_per_expert(num_rows, NUM_EXPERTS, k)
            masks.append(best_rows_of_all(values_NE, m, most, rows).numpy())
        return masks


@pytest.mark.parametrize("sizes", [(4, 7, 0), (1, 1, 1), (30, 2, 5), (6, 0, 0, 3)])
@pytest.mark.parametrize("tied", [False, True])
def test_the_masks_of_all_processes_are_the_mask_of_all_rows(sizes, tied):
    generator = np.random.default_rng(0)
    values = generator.random((sum(sizes), NUM_EXPERTS), np.float32)
    if tied:
        values = np.round(values * 3) / 3
    parts, ks = np.split(values, np.cumsum(sizes)[:-1]), [1, 2, NUM_EXPERTS]
    processes = run_group(len(sizes), chosen, parts, ks)
    for number, k in enumerate(ks):
        found = np.concatenate([masks[number] for masks in processes])
        m = rows_per_expert(len(values), NUM_EXPERTS, k)
        assert (found.sum(0) == m).all()
        if not tied:
            _, expected = best_rows(torch.from_numpy(values), m)
            assert np.array_equal(found, expected.numpy())
        for expert in range(NUM_EXPERTS):
            column, taken = values[:, expert], found[:, expert]
            worst = column[taken].min()
            assert (column[~taken] <= worst).all()  # nobody better was left out
            equal = taken[column == worst]
            assert equal[: equal.sum()].all()  # of equal ones, the first processes' first rows
