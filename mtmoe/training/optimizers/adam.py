"""Adam by the names of the parameters, with factored Adam for the experts beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtmoe.config.settings import Training
from mtmoe.distributed.mesh import ONE_PROCESS, Mesh
from mtmoe.errors import UserError
from mtmoe.model.parameter_roles import NO_ROLES, ParameterRoles
from mtmoe.training.optimizers.factored_adam import FactoredAdam

_MOMENTS = ("exp_avg", "exp_avg_sq")
_FACTORED_MOMENTS = ("row_means", "column_means")


def moment_names(parameter: str) -> list[str]:
    """Return the names that the moments of a parameter may have in :meth:`Adam.state`."""
    return [f"{moment}.{parameter}" for moment in (*_MOMENTS, *_FACTORED_MOMENTS)]


class Adam:
    """PyTorch's fused Adam whose state has the names of the parameters; with the setting
    ``expert_optimizer = "factored-adam"``, FactoredAdam for the stacks of experts beside it.

    Matrices decay (``weight_decay``, decoupled); vectors and gates do not. Of several processes each updates the
    parameters that it has, with whole gradients (``distributed/data_parallel.py``).
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        settings: Training,
        mesh: Mesh = ONE_PROCESS,
        *,
        roles: ParameterRoles = NO_ROLES,
        seed: int = 0,
    ) -> None:
        """Choose each parameter's optimizer and decay by its role: a stack of experts, of a gate, or none."""
        self.parameters, self.settings, self.mesh, self.roles = dict(parameters), settings, mesh, roles
        factored = settings.expert_optimizer == "factored-adam"
        self._stacks = {n: p for n, p in self.parameters.items() if factored and n in roles.expert_stacks}
        self._others = {n: p for n, p in self.parameters.items() if n not in self._stacks}
        decays = {name: p.ndim >= 2 and name not in roles.gates for name, p in self._others.items()}
        groups = [
            {"params": [p for n, p in self._others.items() if decays[n]], "weight_decay": settings.weight_decay},
            {"params": [p for n, p in self._others.items() if not decays[n]], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        self._optimizers: list[torch.optim.Optimizer] = []
        if groups:
            self._optimizers.append(
                torch.optim.AdamW(
                    groups,
                    lr=settings.learning_rate,
                    betas=(settings.adam_beta1, settings.adam_beta2),
                    eps=settings.adam_epsilon,
                    fused=True,
                )
            )
        if self._stacks:
            self._optimizers.append(
                FactoredAdam(
                    self._stacks.values(),
                    lr=settings.learning_rate,
                    beta2=settings.adam_beta2,
                    eps=settings.adam_epsilon,
                    weight_decay=settings.weight_decay,
                    seed=seed,
                )
            )

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of every parameter."""
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate

    def unscale(self, scaler: torch.amp.GradScaler) -> None:
        """Divide the gradients by the loss scale of fp16, before they are clipped."""
        for optimizer in self._optimizers:
            scaler.unscale_(optimizer)

    def step(self, scaler: torch.amp.GradScaler | None = None) -> None:
        """Update every parameter; with fp16's ``scaler``, only where the gradients are finite."""
        for optimizer in self._optimizers:
            if scaler is None:
                optimizer.step()
            else:
                scaler.step(optimizer)

    def zero_grad(self) -> None:
        """Drop all gradients, and their memory."""
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Return the moments, by ``MOMENT.PARAMETER``; none before the first update."""
        return {f"{moment}.{name}": state[moment] for name, moment, state in self._moments() if state}

    def load_state(self, moments: Mapping[str, Tensor], num_updates: int, where: Path) -> None:
        """Set the moments to what :meth:`state` returned after ``num_updates`` updates.

        Args:
            where: the checkpoint, for errors.

        Raises:
            UserError: the moments of another optimizer, or of another model.
        """
        if not num_updates:
            return
        for name, moment, state in self._moments():
            if f"{moment}.{name}" not in moments:
                raise UserError(
                    f"{where}: has no {moment}.{name}, which training.expert_optimizer = "
                    f"{self.settings.expert_optimizer} goes on from",
                    fix="resume with the training.expert_optimizer that the run began with, or start a new run",
                )
            parameter, factored = self.parameters[name], name in self._stacks
            stored = moments[f"{moment}.{name}"]
            if not factored and stored.shape != parameter.shape:
                raise UserError(
                    f"{where}: {moment}.{name} has shape {list(stored.shape)}, the parameter {list(parameter.shape)}",
                    fix=f"the checkpoint is damaged: remove {where} to use an older one",
                )
            state[moment] = stored.to(parameter.device).clone()
            state["step"] = num_updates if factored else torch.tensor(float(num_updates), device=parameter.device)

    def _moments(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield (parameter's name, moment's name, the parameter's state), in the order of the parameters."""
        *fused, last = self._optimizers
        for name, parameter in self.parameters.items():
            factored = name in self._stacks
            optimizer = last if factored or not fused else fused[0]
            for moment in _FACTORED_MOMENTS if factored else _MOMENTS:
                yield name, moment, optimizer.state[parameter]
