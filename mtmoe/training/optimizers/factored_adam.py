"""Factored Adam: no first moment, and a factored second one; the optimizer of the experts (paper, appendix D)."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from mtmoe.training.optimizers.stochastic_rounding import keyed_generator, round_stochastically

# Of gradients that are worked on at a time: what a core's cache holds; on a GPU, enough for every launch to pay.
CPU_BYTES, _GPU_BYTES = 1 << 20, 1 << 28


class FactoredAdam(torch.optim.Optimizer):
    """For stacks of E matrices, [E, R, C]; each matrix has a second moment of its own, as in Adam with beta1 = 0.

    Kept are the means of the squared gradients of each row and of each column::

        d   = b2 (1 - b2^(t-1)) / (1 - b2^t)        b2, with Adam's bias correction in it; 0 at t = 1
        row = d row + (1 - d) mean over columns of g^2        [E, R]
        col = d col + (1 - d) mean over rows of g^2           [E, C]
        V   = row col / mean(row)                             mean(row) = mean(col)
        w  -= rate (g / (sqrt(V) + eps) + weight_decay w)

    so the state is (R + C) / (R C) of the parameters. Updates are neither clipped nor scaled by the parameters
    (the Adafactor of 2018 does both). Semantics are dense: an expert that received nothing has a gradient of zero,
    its moments decay, and but for the weight decay it stays where it is.

    Weights in bf16 are updated in float32 and rounded to one of their two neighbours at random, so that the mean of
    the outcome is what was meant: to the nearest one, an update of less than 1/256 of a weight would be lost always.

    Args:
        parameters: tensors with three dimensions. One without a gradient is left alone, as in PyTorch's optimizers.
        lr: rate; beta2, eps and weight_decay as in Adam (decoupled decay).
        seed: of the rounding, which is the same for the same seed, parameter and number of updates.

    Raises:
        ValueError: a parameter does not have three dimensions.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, lr: float, beta2: float, eps: float, weight_decay: float,
        seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(list(parameters), {"lr": lr, "beta2": beta2, "eps": eps, "weight_decay": weight_decay})
        self.seed = seed
        for parameter in self._parameters():
            if parameter.ndim != 3:
                raise ValueError(f"a stack of matrices has three dimensions, not {list(parameter.shape)}")

    def _parameters(self) -> Iterator[nn.Parameter]:
        for group in self.param_groups:
            yield from group["params"]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient. ``closure`` must be None."""
        if closure is not None:
            raise ValueError("FactoredAdam takes no closure")
        for group in self.param_groups:
            for number, parameter in enumerate(group["params"]):
                if parameter.grad is not None:
                    self._update(number, parameter, parameter.grad, group)

    def _update(self, number: int, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state, wide = self.state[parameter], torch.promote_types(parameter.dtype, torch.float32)
        if not state:
            num_experts, num_rows, num_columns = parameter.shape
            state["step"] = 0
            state["row_means"] = parameter.new_zeros(num_experts, num_rows, dtype=wide)
            state["column_means"] = parameter.new_zeros(num_experts, num_columns, dtype=wide)
        state["step"] += 1
        beta2, t = group["beta2"], state["step"]
        decay = beta2 * (1 - beta2 ** (t - 1)) / (1 - beta2**t)
        rounding = (
            keyed_generator(parameter.device, self.seed, t, number) if parameter.dtype == torch.bfloat16 else None
        )
        if _suits_kernels(parameter, gradient) and (kernels := kernels_of(parameter.device)):
            self._update_by_kernels(kernels, parameter, gradient, state, decay, group)
            return
        # A process that holds no experts of a layer has a stack of none.
        matrix_bytes = parameter.shape[1] * parameter.shape[2] * wide.itemsize
        size = max(1, (_GPU_BYTES if parameter.is_cuda else CPU_BYTES) // matrix_bytes)
        tensors = (parameter, gradient, state["row_means"], state["column_means"])
        buffer = torch.empty_like(parameter[:size], dtype=wide, memory_format=torch.contiguous_format)
        for stored, given, row_means, column_means in zip(*(t.split(size) for t in tensors), strict=True):
            weights, gradients = stored.to(wide), given.to(wide)  # themselves where they are of that type
            room = buffer[: weights.shape[0]]
            torch.mul(gradients, gradients, out=room)
            row_means.lerp_(room.mean(2), 1 - decay)
            column_means.lerp_(room.mean(1), 1 - decay)
            rows, columns = _roots(row_means, column_means)
            torch.mul(rows.unsqueeze(2), columns.unsqueeze(1), out=room).add_(group["eps"])
            if group["weight_decay"]:
                weights.mul_(1 - group["lr"] * group["weight_decay"])
            weights.addcdiv_(gradients, room, value=-group["lr"])
            if rounding is not None:
                stored.copy_(round_stochastically(weights, rounding))

    def _update_by_kernels(
        self,
        kernels: ModuleType,
        weights: nn.Parameter,
        gradient: Tensor,
        state: dict[str, Any],
        decay: float,
        group: dict[str, Any],
    ) -> None:
        row_means, column_means = kernels.mean_squares(gradient)
        state["row_means"].lerp_(row_means, 1 - decay)
        state["column_means"].lerp_(column_means, 1 - decay)
        rows, columns = _roots(state["row_means"], state["column_means"])
        kept = 1 - group["lr"] * group["weight_decay"]
        kernels.take_step(weights, gradient, rows, columns, rate=group["lr"], epsilon=group["eps"], kept=kept)


def _suits_kernels(weights: Tensor, gradient: Tensor) -> bool:
    """Return whether the kernels can do the update: not in bf16, which is rounded stochastically."""
    fits = weights.numel() and weights.dtype == gradient.dtype == torch.float32
    return bool(weights.is_cuda and fits and weights.is_contiguous() and gradient.is_contiguous())


@functools.cache
def kernels_of(device: torch.device) -> ModuleType | None:
    """Return the module `factored_adam_kernels` if it works here: it needs Triton, and Triton a C compiler."""
    try:
        from mtmoe.training.optimizers import factored_adam_kernels as kernels

        ones = torch.ones(1, 2, 2, device=device)
        rows, columns = kernels.mean_squares(ones)
        kernels.take_step(ones, ones, rows, columns, rate=0.0, epsilon=1.0, kept=1.0)
        return kernels
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        warnings.warn(
            f"factored-adam has no GPU kernels, and a third of the speed: Triton does not work here ({reason})",
            stacklevel=2,
        )
        return None


def _roots(row_means: Tensor, column_means: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two factors whose outer product is sqrt(V), [E, R] and [E, C].

    The division comes before the product: nothing overflows, and an expert with moments of zero divides by no zero.
    """
    mean = row_means.mean(1, keepdim=True).clamp_(min=torch.finfo(row_means.dtype).tiny)
    return row_means.div(mean).sqrt_(), column_means.sqrt()
