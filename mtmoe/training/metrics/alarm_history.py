"""History for the alarms: what they look at, read from lines of ``metrics.jsonl``; small, whatever these hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mtmoe.config import Recipe

BALANCING_LOSSES = ("importance", "load", "threshold")
_SHARES, _LARGEST_SHARE = ".token_share", ".token_share_max"


class LayerUse(NamedTuple):
    """How a layer's experts were used since the last line. largest_share: of the layer's tokens, 0 to 1, each counted
    once for each of its experts, that the busiest expert received; losses: names of those by which its gate learns to
    spread tokens evenly."""

    largest_share: float
    dead_experts: int
    losses: tuple[str, ...] = ()


class TrainPoint(NamedTuple):
    """A line of event "train". loss: nats per target token; skipped: steps since the first that changed nothing because
    their loss was not finite."""

    step: int
    loss: float
    skipped: int = 0
    layers: Mapping[str, LayerUse] = {}


class DevPoint(NamedTuple):
    """A line of event "validation". length_ratio: characters of the translations, divided by those of the
    references."""

    step: int
    loss: float
    bleu: float | None = None
    length_ratio: float | None = None


@dataclass
class AlarmHistory:
    """What is known of a training so far, in the order of its steps."""

    recipe: Recipe
    train: list[TrainPoint] = field(default_factory=list)
    dev: list[DevPoint] = field(default_factory=list)

    def add(self, line: Mapping[str, Any]) -> None:
        """Take in a line of the log; one of another event, or without a loss, is passed over."""
        step, loss = line.get("step"), line.get("loss")
        if not isinstance(step, int) or not isinstance(loss, (int, float)):
            return
        if line.get("event") == "train":
            skipped = _number(line.get("skipped_steps")) - _number(line.get("out_of_memory_steps"))
            self.train.append(TrainPoint(step, float(loss), int(skipped), _layers(line)))
        elif line.get("event") == "validation":
            self.dev.append(
                DevPoint(step, float(loss), _optional(line.get("bleu")), _optional(line.get("length_ratio")))
            )


def _layers(line: Mapping[str, Any]) -> dict[str, LayerUse]:
    suffix = ".dead_experts"
    found = {}
    for key, dead in line.items():
        if key.endswith(suffix):
            layer = key.removesuffix(suffix)
            losses = tuple(name for name in BALANCING_LOSSES if f"{layer}.{name}_loss" in line)
            found[layer] = LayerUse(_largest_share(line, layer), int(_number(dead)), losses)
    return found


def _largest_share(line: Mapping[str, Any], layer: str) -> float:
    shares = line.get(f"{layer}{_SHARES}")
    return max(map(_number, shares), default=0.0) if isinstance(shares, list) else _number(
        line.get(f"{layer}{_LARGEST_SHARE}")
    )  # fmt: skip


def _number(value: Any) -> float:
    return _optional(value) or 0.0


def _optional(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
