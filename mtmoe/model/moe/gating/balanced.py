"""Masks, thresholds and losses of the strictly balanced gates (paper, appendix F).

Letters: M pairs of a token and one of its experts, R rows, C best rows of an expert.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from mtmoe.model.moe.gating.gate import Gate
from mtmoe.model.moe.gating.load_balancing import squared_variation
from mtmoe.model.moe.layer_parallelism import ONE_PROCESS_LAYER, GlobalRows, LayerParallelism
from mtmoe.model.moe.routing import Balance
from mtmoe.model.ops.rows import inverse_permutation, permute_rows


class BalancedGate(Gate):
    """A gate whose losses are importance and, in training, the thresholds' own (eq. 20); none of load
    (`docs/explanation/paper.md#decision-12`).
    """

    def __init__(
        self,
        num_experts: int,
        experts_per_token: int,
        importance_loss_weight: float,
        threshold_loss_weight: float,
        parallelism: LayerParallelism = ONE_PROCESS_LAYER,
        z_loss_weight: float = 0.0,
    ) -> None:
        super().__init__(num_experts, experts_per_token, parallelism, None, z_loss_weight)
        self.importance_loss_weight = importance_loss_weight
        self.threshold_loss_weight = threshold_loss_weight

    def _balance(
        self,
        importance_E: Tensor,
        token_counts_E: Tensor,
        excess: Tensor | None,
        num_tokens: Tensor | int,
        of_z: tuple[Tensor, ...],
    ) -> Balance:
        """Return balance and losses.

        ``excess`` is eq. 20, a sum over tokens; its loss is the mean, so that its size does not depend on the batch's.
        ``of_z`` is what :meth:`Gate._z_sums` returned.
        """
        sums = [importance_E]
        if excess is not None:
            sums += [excess, num_tokens if isinstance(num_tokens, Tensor) else excess.new_full((), num_tokens)]
        reduced_E, *others = self._reduced(*sums, *of_z)
        of_thresholds, of_z = others[: len(sums) - 1], tuple(others[len(sums) - 1 :])
        losses = {"importance": self.importance_loss_weight * squared_variation(reduced_E)}
        if of_thresholds:
            losses["threshold"] = self.threshold_loss_weight * of_thresholds[0] / of_thresholds[1].clamp(min=1.0)
        losses |= self._z_losses(of_z)
        return Balance(importance_E, token_counts_E.to(importance_E.dtype), token_counts_E, losses)


def rows_per_expert(num_rows: int, num_experts: int, k: int) -> int:
    """Return m of eq. 18, rounded up (`docs/explanation/paper.md#decision-10`).

    From shapes alone, so that nothing waits for the device.
    """
    return min(num_rows, -(-k * num_rows // num_experts))


def best_rows(values_RE: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """Return the m rows of each column with the largest values (eq. 18), [..., E, C], and the same as a mask [..., R,
    E]."""
    rows_EC = values_RE.detach().transpose(-1, -2).topk(m, dim=-1).indices
    mask_RE = torch.zeros_like(values_RE, dtype=torch.bool).scatter_(-2, rows_EC.transpose(-1, -2), True)
    return rows_EC, mask_RE


def best_rows_of_all(values_RE: Tensor, m: int, most: int, global_rows: GlobalRows) -> Tensor:
    """Return eq. 18 over the rows of all processes, as a mask [..., R, E] of those here; ``most``: the largest R of
    any.

    Every column has m rows in all. Of equal values, those of the first processes and the first rows are taken. What
    is no row has the value -inf.
    """
    values_RE = values_RE.detach()
    num_rows, num_best = values_RE.shape[-2], min(m, most)
    best_EC = values_RE.transpose(-1, -2).topk(min(num_best, num_rows), dim=-1).values
    best_EC = pad(best_EC, (0, num_best - best_EC.shape[-1]), value=-torch.inf)
    shape = (*values_RE.shape[:-2], 1, values_RE.shape[-1])
    worst_1E, num_equal_1E = (per_E.view(shape) for per_E in global_rows.share_out(best_EC.flatten(0, -2), m))
    equal_RE = values_RE == worst_1E
    return (values_RE > worst_1E) | (equal_RE & (equal_RE.cumsum(-2) <= num_equal_1E))


def renormalised(values_RE: Tensor, mask_RE: Tensor) -> Tensor:
    """Divide the masked values of each row by their sum (eq. 16).

    The gates of a row are zero where the mask leaves nothing of it, and nearly zero where it leaves so little that the
    gradient, which is divided by that sum, would overflow.
    """
    kept_RE = torch.where(mask_RE, values_RE, 0.0)
    total_R1 = kept_RE.sum(dim=-1, keepdim=True)
    least = torch.finfo(total_R1.dtype).tiny * 2**26
    return kept_RE / torch.where(total_R1 < least, 1.0, total_R1)


def threshold_loss(values_RE: Tensor, threshold_E: Tensor, mask_RE: Tensor) -> Tensor:
    """Compute eq. 20, from which the thresholds alone learn: no term is negative, and the derivative by a threshold is
    the number of rows that the mask has, less the number above the threshold."""
    values_RE = values_RE.detach()
    above_RE = (values_RE > threshold_E).to(values_RE.dtype)
    return ((above_RE - mask_RE.to(values_RE.dtype)) * (values_RE - threshold_E)).sum()


def in_token_order(tokens: Tensor, experts: Tensor, gates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return pairs of any order and shape flat, with ascending tokens."""
    order_M = tokens.flatten().argsort(stable=True)
    gates_M1 = permute_rows(gates.reshape(-1, 1), order_M, inverse_permutation(order_M))
    pick = tokens.flatten().index_select(0, order_M), experts.flatten().index_select(0, order_M)
    return *pick, gates_M1[:, 0]
