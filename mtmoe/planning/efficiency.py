"""Efficiency: which share of the floor's speed a training reaches, by what was measured.

A GPU waits for the processor that launches its kernels as long as a batch is small, so the share grows with the floor's
time of a batch. Between two measurements it is interpolated on a logarithmic scale; outside of them the nearest counts.
"""

from __future__ import annotations

import bisect
import math
from typing import NamedTuple


class MeasuredTraining(NamedTuple):
    """A training on one GPU that was measured.

    floor_seconds: of a batch, by the plan. share: floor divided by measured time.
    """

    network: str
    floor_seconds: float
    share: float


MEASURED_ON = "one H100 80GB"
MEASURED = (
    MeasuredTraining("11 M parameters, 1,000 tokens a batch", 0.25e-3, 0.0062),  # 39.9 ms a batch
    MeasuredTraining("5.5 M parameters, 20,000 tokens a batch", 0.55e-3, 0.025),  # 22.1 ms
    MeasuredTraining("178 M parameters, 8,000 tokens a batch", 10.8e-3, 0.13),  # 96,700 target tokens/s
)
"""By their floors: `docs/benchmarks/gpu.md`, "Training", of 2026-11-26 (c2732ad)."""
SOURCE = f"measured on {MEASURED_ON}, 2026-11-26, c2732ad: docs/benchmarks/gpu.md"


class Efficiency(NamedTuple):
    """A share of the floor's speed, and what it stands on."""

    share: float
    basis: str


def measured_efficiency(floor_seconds: float, gpu: str, num_gpus: int) -> Efficiency:
    """Return the share that trainings with such a floor have reached.

    Args:
        floor_seconds: of a batch of one GPU.
        gpu: its name; of others than the measured one, and of several, the basis says that they were not measured.
    """
    place = bisect.bisect([training.floor_seconds for training in MEASURED], floor_seconds)
    if place in (0, len(MEASURED)):
        nearest = MEASURED[min(place, len(MEASURED) - 1)]
        share, of = nearest.share, f"of {nearest.network}"
    else:
        before, after = MEASURED[place - 1 : place + 1]
        way = math.log(floor_seconds / before.floor_seconds) / math.log(after.floor_seconds / before.floor_seconds)
        share = before.share * (after.share / before.share) ** way
        of = f"between {before.network}, and {after.network}"
    unlike = [f"not on {gpu}"] if gpu != "h100" else []
    unlike += ["not on several GPUs"] if num_gpus > 1 else []
    return Efficiency(share, "; ".join([f"{of}, {SOURCE}", *unlike]))
