"""Strict balancing over the tokens of all processes: which of an expert's best tokens are whose (appendix F).

Each process sends the best values that it has for an expert to the process that answers for it, and gets back the
worst value that is still taken: two small exchanges for a gate, whatever the number of processes.

Letters: P processes, F experts that one answers for, C values that each sends for an expert, X values of all processes
for an expert.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from mtmoe.distributed.mesh import Mesh, shares


class BalancedRows:
    """What a strictly balanced gate asks of the other processes; all must ask the same, in the same order."""

    def __init__(self, mesh: Mesh, layer: str) -> None:
        self._mesh, self._layer = mesh, layer
        self._size, self._rank = mesh.size, mesh.rank
        self._group: dist.ProcessGroup | None = None

    @classmethod
    def of_same_experts(cls, mesh: Mesh, layer: str) -> BalancedRows | None:
        """Return the rows of the processes that hold the same experts alone; None where that is this one."""
        if mesh.data_size == 1:
            return None
        rows = cls(mesh, layer)
        rows._size, rows._rank, rows._group = mesh.data_size, mesh.rank // mesh.expert_size, mesh.data_group
        return rows

    def count(self, num_rows: int) -> tuple[int, int]:
        """Return (sum, largest) of the numbers of rows of all processes.

        A process that has lost its rows for lack of memory keeps to the number that it gave.
        """
        counts_P = self._mesh.collective_log.remembered(lambda: self._own_count(num_rows))
        # In place: who goes through the batch a second time finds the numbers of all there.
        told = self._mesh.add_up(counts_P, f"{self._layer}'s numbers of tokens").tolist()
        return sum(told), max(told)

    def _own_count(self, num_rows: int) -> Tensor:
        counts_P = torch.zeros(self._mesh.size, dtype=torch.int64, device=self._mesh.device_type)
        counts_P[self._mesh.rank] = num_rows
        return counts_P

    def share_out(self, best_EC: Tensor, m: int) -> tuple[Tensor, Tensor]:
        """Return each expert's m-th best value of all processes, and how many values equal to it are for this process:
        those of the first processes come first. Both [E].

        Args:
            best_EC: the C best of this process, in descending order; -inf where it has fewer. C is at least m, or the
                number of rows of the process that has the most.
        """
        (num_experts, num_best), size = best_EC.shape, self._size
        sizes = [share.stop - share.start for share in shares(num_experts, size)]
        own = sizes[self._rank]
        what = f"all_to_all_single of {self._layer}'s"
        received = self._exchanged(best_EC, [own] * size, sizes, f"{what} best tokens of each expert")
        answer_PF2 = _answers(received.view(size, own, num_best), m)
        answer_E2 = self._exchanged(answer_PF2.flatten(0, 1), sizes, [own] * size, f"{what} worst tokens taken")
        return answer_E2[:, 0], answer_E2[:, 1]

    def _exchanged(self, rows: Tensor, received: list[int], sent: list[int], what: str) -> Tensor:
        # What has come before is lost if this is gone through again for lack of memory: then nobody takes anything.
        out = rows.new_full((sum(received), rows.shape[1]), torch.inf)
        with self._mesh.collective_log.collective(what) as due:
            if due:
                dist.all_to_all_single(out, rows.contiguous(), received, sent, group=self._group)
        return out


def _answers(best_PFC: Tensor, m: int) -> Tensor:
    """Answer [P, F, C] by [P, F, 2]: to each process the m-th best of all values, and its share of those equal to
    it."""
    size, num_experts, num_best = best_PFC.shape
    if not num_experts:
        return best_PFC.new_zeros(size, 0, 2)
    all_FX = best_PFC.transpose(0, 1).reshape(num_experts, size * num_best)
    worst_F1 = all_FX.topk(m, dim=1).values[:, -1:] if m else all_FX.new_full((num_experts, 1), torch.inf)
    num_equal_PF = (best_PFC == worst_F1).sum(2)
    left_F = m - (all_FX > worst_F1).sum(1)
    share_PF = (left_F - (num_equal_PF.cumsum(0) - num_equal_PF)).clamp(min=0).minimum(num_equal_PF)
    return torch.stack((worst_F1[:, 0].expand(size, -1), share_PF.to(best_PFC.dtype)), dim=2)
