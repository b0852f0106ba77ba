"""Learning-rate schedules: the paper's, cosine, constant; each begins with a linear warm-up."""

from __future__ import annotations

import math

from mtmoe.config.settings import Training


def learning_rate(settings: Training, step: int) -> float:
    """Return the learning rate of a step, counted from 1.

    The schedule "paper" (appendix E) is ``base * {step/warmup; 1; sqrt((warmup + constant) / step)}``.
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
