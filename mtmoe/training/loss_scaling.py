"""Loss scaling of fp16: gradients too small for the type are kept from vanishing (Micikevicius et al. 2018)."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from mtmoe.checkpoint import LossScale
from mtmoe.distributed.mesh import ONE_PROCESS, Mesh
from mtmoe.training.optimizers.adam import Adam


class LossScaler:
    """PyTorch's ``GradScaler`` with the same scale on all processes. In another precision than fp16 it does nothing.

    The scale is found by trial: it grows until gradients overflow, and that step is skipped.
    """

    def __init__(self, device: torch.device, precision: str, mesh: Mesh = ONE_PROCESS) -> None:
        self._mesh = mesh
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")

    def scale(self, loss: Tensor) -> Tensor:
        """Return the loss, multiplied by the scale, for the backward pass."""
        return self._scaler.scale(loss)

    def unscale(self, optimizer: Adam) -> None:
        """Divide the gradients by the scale, before they are clipped."""
        if self._scaler.is_enabled():
            spread_infinity(optimizer.parameters, optimizer.roles.sharded, self._mesh)
        optimizer.unscale(self._scaler)

    def step(self, optimizer: Adam) -> None:
        """Update the parameters if all gradients are finite."""
        optimizer.step(self._scaler)

    def may_shrink(self) -> bool:
        """Return whether a gradient that overflows is no failure: the scale is above 1, and a smaller one may do."""
        return self._scaler.is_enabled() and self._scaler.get_scale() > 1.0

    def update(self) -> None:
        """Adapt the scale to what the gradients of this step were."""
        self._scaler.update()

    def state(self) -> LossScale | None:
        """Return what a checkpoint keeps: None in another precision than fp16."""
        return LossScale.model_validate(self._scaler.state_dict()) if self._scaler.is_enabled() else None

    def load_state(self, state: LossScale | None) -> None:
        """Go on with the scale of a checkpoint, if both have one."""
        if state is not None and self._scaler.is_enabled():
            self._scaler.load_state_dict(state.model_dump(by_alias=True))


@torch.no_grad()
def spread_infinity(parameters: Mapping[str, nn.Parameter], sharded: Collection[str], mesh: Mesh) -> None:
    """Make a shared gradient infinite on all processes where an expert's is not finite on any of them.

    A process's loss scale follows what it finds in its own gradients, and must be the same on all.
    """
    if mesh.expert_size == 1:
        return
    experts = [p.grad for name, p in parameters.items() if p.grad is not None and name in sharded]
    shared = next(p.grad for name, p in parameters.items() if p.grad is not None and name not in sharded)
    num_broken = sum((~gradient.isfinite().all()).float() for gradient in experts) + shared.new_zeros(1)
    mesh.add_up_over_experts(num_broken, "gradients that are not finite")
    shared.view(-1)[:1].add_(torch.where(num_broken > 0, torch.inf, 0.0))
