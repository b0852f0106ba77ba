"""Adam, the learning-rate schedules, clipping and the average of the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mtmoe.config.settings import ExponentialAverage, Training

_MOMENTS = ("exp_avg", "exp_avg_sq")


def learning_rate(settings: Training, step: int) -> float:
    """Learning rate of a step, counted from 1.

    paper (spec 6.3): ``base * {step/warmup; 1; sqrt((warmup + constant) / step)}``.
    """
    base, schedule = settings.learning_rate, settings.schedule
    if step < schedule.warmup_steps:
        return base * step / schedule.warmup_steps
    if schedule.kind == "paper":
        plateau_end = schedule.warmup_steps + schedule.constant_steps
        return base if step <= plateau_end else base * math.sqrt(plateau_end / step)
    if schedule.kind == "cosine":
        share = (step - schedule.warmup_steps) / max(1, settings.max_steps - schedule.warmup_steps)
        falling = 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
        return base * (schedule.final_fraction + (1 - schedule.final_fraction) * falling)
    return base


class Adam:
    """PyTorch's fused Adam whose state has the names of the parameters.

    Matrices decay (``weight_decay``, decoupled); vectors and gates do not.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], settings: Training) -> None:
        self.parameters, self.settings = dict(parameters), settings
        decays = {name: p.ndim >= 2 and ".gate." not in name for name, p in self.parameters.items()}
        groups = [
            {"params": [p for n, p in self.parameters.items() if decays[n]], "weight_decay": settings.weight_decay},
            {"params": [p for n, p in self.parameters.items() if not decays[n]], "weight_decay": 0.0},
        ]
        self.torch_optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=settings.learning_rate,
            betas=(settings.adam_beta1, settings.adam_beta2),
            eps=settings.adam_epsilon,
            fused=True,
        )

    def set_learning_rate(self, rate: float) -> None:
        for group in self.torch_optimizer.param_groups:
            group["lr"] = rate

    def clip(self) -> Tensor:
        """Scale all gradients to the largest allowed global norm; returns the norm before."""
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        # On a CPU the pass over the gradients is saved when they are short enough; a GPU is not asked.
        if norm.is_cuda or norm > self.settings.clip_norm:
            nn.utils.clip_grads_with_norm_(self.parameters.values(), self.settings.clip_norm, norm)
        return norm

    def step(self) -> None:
        self.torch_optimizer.step()

    def zero_grad(self) -> None:
        self.torch_optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """The moments, by name; none before the first update."""
        return {
            f"{moment}.{name}": self.torch_optimizer.state[parameter][moment]
            for name, parameter in self.parameters.items()
            if self.torch_optimizer.state.get(parameter)
            for moment in _MOMENTS
        }

    def load_state(self, moments: Mapping[str, Tensor], num_updates: int) -> None:
        """The inverse of :meth:`state`, after so many updates."""
        if not num_updates:
            return
        for name, parameter in self.parameters.items():
            state = {m: moments[f"{m}.{name}"].to(parameter.device).clone() for m in _MOMENTS}
            state["step"] = torch.tensor(float(num_updates), device=parameter.device)
            self.torch_optimizer.state[parameter] = state


class WeightAverage:
    """Exponential moving average of parameters, in a model of its own that is used for inference.

    The decay grows from 0 like ``(1 + t) / (10 + t)``, so that the first weights are soon forgotten. It is brought
    up to date every ``every_steps`` updates, with the decay of so many: a pass over all weights is not cheap.
    """

    def __init__(self, averaged: nn.Module, settings: ExponentialAverage) -> None:
        self.averaged, self.settings = averaged, settings
        self._targets = [p.detach() for p in averaged.parameters()]

    @torch.no_grad()
    def update(self, model: nn.Module, num_updates: int) -> None:
        """After the optimizer's update ``num_updates``, counted from 1; the first one is always taken in."""
        every = self.settings.every_steps
        if num_updates % every and num_updates >= every:
            return
        decay = min(self.settings.decay, (1 + num_updates) / (10 + num_updates))
        decay = decay**every if num_updates >= every else decay
        torch._foreach_lerp_(self._targets, [p.detach() for p in model.parameters()], 1 - decay)
