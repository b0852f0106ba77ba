"""What happened since the last line of metrics."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Any

from mtmoe.checkpoint import WindowState
from mtmoe.distributed.mesh import ONE_PROCESS, Mesh
from mtmoe.training.metrics.expert_usage import ExpertUsage
from mtmoe.training.step import StepResult

_SUMS = (
    "loss_sum", "norm_sum", "auxiliary_sum", "num_loss_tokens", "num_applied", "num_target_tokens",
    "num_source_tokens", "num_padded_tokens", "num_steps",
)  # fmt: skip


class Window:
    """What happened since the last line of metrics. Time spent validating and saving is not counted."""

    def __init__(self, settings: Any, mesh: Mesh = ONE_PROCESS) -> None:
        self.expert_usage = ExpertUsage(settings, mesh)
        self._paused_at: float | None = None
        self.restart()

    def restart(self) -> None:
        self.expert_usage.reset()
        self.loss_sum = self.norm_sum = self.auxiliary_sum = 0.0
        self.num_loss_tokens = self.num_applied = 0
        self.num_target_tokens = self.num_source_tokens = self.num_padded_tokens = self.num_steps = 0
        self.began = time.monotonic()

    def state(self) -> dict[str, Any]:
        """Everything, as plain numbers for a checkpoint: a training that is resumed goes on in the same window."""
        sums = {name: getattr(self, name) for name in _SUMS}
        return {**sums, "seconds": self.seconds, "expert_usage": self.expert_usage.state()}

    def load_state(self, state: WindowState) -> None:
        """Set everything to what :meth:`state` has told."""
        for name in _SUMS:
            setattr(self, name, getattr(state, name))
        self.began = time.monotonic() - state.seconds
        self.expert_usage.load_state(state.expert_usage)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Do something else meanwhile, without its time being counted."""
        self._paused_at = time.monotonic()
        try:
            yield
        finally:
            self.began += time.monotonic() - self._paused_at
            self._paused_at = None

    @property
    def seconds(self) -> float:
        """Time that is counted so far."""
        return (time.monotonic() if self._paused_at is None else self._paused_at) - self.began

    def add(self, result: StepResult) -> None:
        self.num_steps += 1
        self.num_target_tokens += result.num_target_tokens
        self.num_source_tokens += result.num_source_tokens
        self.num_padded_tokens += result.num_padded_tokens
        if result.applied:
            self.num_applied += 1
            self.num_loss_tokens += result.num_target_tokens
            self.loss_sum += result.loss_sum
            self.norm_sum += result.gradient_norm
            self.auxiliary_sum += result.auxiliary_loss

    def metrics(self, num_steps_left: int) -> dict[str, float]:
        """loss in nats per target token (no smoothing), rates per second, ETA without validations."""
        seconds = max(self.seconds, 1e-9)
        steps = max(1, self.num_steps)
        loss = self.loss_sum / max(1, self.num_loss_tokens)
        applied = max(1, self.num_applied)
        return {
            "loss": loss,
            "perplexity": math.exp(min(loss, 50.0)),
            "auxiliary_loss": self.auxiliary_sum / applied,
            "gradient_norm": self.norm_sum / applied,
            "target_tokens_per_second": self.num_target_tokens / seconds,
            "source_and_target_tokens_per_second": (self.num_target_tokens + self.num_source_tokens) / seconds,
            "padding": 1 - (self.num_target_tokens + self.num_source_tokens) / max(1, self.num_padded_tokens),
            "eta_seconds": num_steps_left * seconds / steps,
        }
