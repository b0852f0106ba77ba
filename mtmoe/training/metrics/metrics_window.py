"""Metrics window: sums and rates since the last line of ``metrics.jsonl``."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator

from mtmoe.checkpoint import WindowState
from mtmoe.config.settings import Training
from mtmoe.distributed.mesh import ONE_PROCESS, Mesh
from mtmoe.training.metrics.expert_usage import ExpertUsage
from mtmoe.training.metrics.records import WindowMetrics
from mtmoe.training.step import StepResult

_MOST_NATS = 50.0  # a loss above it has no perplexity that anybody can read


def perplexity_of(loss: float) -> float:
    """Return exp(loss) of a loss in nats per token, bounded by exp(50)."""
    return math.exp(min(loss, _MOST_NATS))


class MetricsWindow:
    """What happened since the last line of metrics. Time spent validating and saving is not counted.

    expert_usage: of the same steps.
    """

    def __init__(self, settings: Training, mesh: Mesh = ONE_PROCESS) -> None:
        self.expert_usage = ExpertUsage(mesh)
        self._is_taught = settings.distillation is not None
        self._is_read_twice = settings.consistency is not None
        self._is_guided = settings.guided_alignment is not None
        self._paused_at: float | None = None
        self.restart()

    def restart(self) -> None:
        """Forget everything: another window begins now."""
        self.expert_usage.reset()
        self.loss_sum = self.norm_sum = self.auxiliary_sum = 0.0
        self.teacher_sum = self.consistency_sum = self.alignment_sum = 0.0
        self.num_loss_tokens = self.num_applied = 0
        self.num_target_tokens = self.num_source_tokens = self.num_padded_tokens = self.num_steps = 0
        self.began = time.monotonic()

    def state(self) -> WindowState:
        """Return everything for a checkpoint: a training that is resumed goes on in the same window."""
        return WindowState(
            loss_sum=self.loss_sum,
            norm_sum=self.norm_sum,
            auxiliary_sum=self.auxiliary_sum,
            teacher_sum=self.teacher_sum,
            consistency_sum=self.consistency_sum,
            alignment_sum=self.alignment_sum,
            num_loss_tokens=self.num_loss_tokens,
            num_applied=self.num_applied,
            num_target_tokens=self.num_target_tokens,
            num_source_tokens=self.num_source_tokens,
            num_padded_tokens=self.num_padded_tokens,
            num_steps=self.num_steps,
            seconds=self.seconds,
            expert_usage=self.expert_usage.state(),
        )

    def load_state(self, state: WindowState) -> None:
        """Set everything to what :meth:`state` returned."""
        self.loss_sum, self.norm_sum, self.auxiliary_sum = state.loss_sum, state.norm_sum, state.auxiliary_sum
        self.teacher_sum, self.consistency_sum = state.teacher_sum, state.consistency_sum
        self.alignment_sum = state.alignment_sum
        self.num_loss_tokens, self.num_applied = state.num_loss_tokens, state.num_applied
        self.num_target_tokens, self.num_source_tokens = state.num_target_tokens, state.num_source_tokens
        self.num_padded_tokens, self.num_steps = state.num_padded_tokens, state.num_steps
        self.began = time.monotonic() - state.seconds
        self.expert_usage.load_state(state.expert_usage)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Do something else in the context, without its time being counted."""
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
        """Take in one step; of steps that changed nothing only the tokens and the time count."""
        self.num_steps += 1
        self.num_target_tokens += result.num_target_tokens
        self.num_source_tokens += result.num_source_tokens
        self.num_padded_tokens += result.num_padded_tokens
        if result.applied:
            self.num_applied += 1
            self.num_loss_tokens += result.num_target_tokens
            self.loss_sum += result.loss_sum
            self.teacher_sum += result.teacher_sum
            self.consistency_sum += result.consistency_sum
            self.alignment_sum += result.alignment_sum
            self.norm_sum += result.gradient_norm
            self.auxiliary_sum += result.auxiliary_loss

    def metrics(self, num_steps_left: int) -> WindowMetrics:
        """Return means and rates of the window; ``num_steps_left`` steps at its speed are the ETA."""
        seconds = max(self.seconds, 1e-9)
        steps = max(1, self.num_steps)
        num_loss_tokens = max(1, self.num_loss_tokens)
        loss = self.loss_sum / num_loss_tokens
        applied = max(1, self.num_applied)
        return WindowMetrics(
            loss=loss,
            perplexity=perplexity_of(loss),
            auxiliary_loss=self.auxiliary_sum / applied,
            teacher_loss=self.teacher_sum / num_loss_tokens if self._is_taught else None,
            consistency_loss=self.consistency_sum / num_loss_tokens if self._is_read_twice else None,
            alignment_loss=self.alignment_sum / num_loss_tokens if self._is_guided else None,
            gradient_norm=self.norm_sum / applied,
            target_tokens_per_second=self.num_target_tokens / seconds,
            source_and_target_tokens_per_second=(self.num_target_tokens + self.num_source_tokens) / seconds,
            padding_share=1 - (self.num_target_tokens + self.num_source_tokens) / max(1, self.num_padded_tokens),
            eta_seconds=num_steps_left * seconds / steps,
        )
