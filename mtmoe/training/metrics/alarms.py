"""Alarms: what in the history of a training a person should look at, each with the settings that are likely to help.

Each is a pure function of the history: does it hold now, at the end of it? :class:`AlarmWatch` tells each once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from mtmoe.config import Recipe
from mtmoe.training.metrics.alarm_history import AlarmHistory, DevPoint, LayerUse, TrainPoint
from mtmoe.training.metrics.records import AlarmMetrics

COLLAPSE_SHARE = 0.9
"""Share of all tokens, 0 to 1, that one expert of a layer is given."""
COLLAPSE_STEPS = 100
"""Steps in a row."""
RISE_NATS = 0.7
"""How far the training loss is above its lowest: the perplexity has doubled."""
RISE_LINES = 3
"""Lines of the log, of which a mean is compared with the lowest of such means."""
NOT_FINITE_STEPS = 3
"""Steps since the line before that changed nothing, for a loss that was not finite ..."""
NOT_FINITE_SHARE = 0.05
"""... and that are at least so large a share of all of them."""
OVERFITTING_NATS = 0.05
"""How far the dev loss is above its lowest, and how far the training loss has fallen since then ..."""
OVERFITTING_VALIDATIONS = 3
"""... in so many validations in a row."""
DRIFT_RATIOS = (0.8, 1.25)
"""Characters of the dev translations, divided by those of the references: outside is too short or too long ..."""
DRIFT_VALIDATIONS = 2
"""... in so many validations in a row, ..."""
DRIFT_BEGAN_WITHIN = (0.9, 1.1)
"""... where they were of such length at the best BLEU, ..."""
DRIFT_LEAST_BLEU = 5.0
"""... and this is so high: a model that cannot translate yet has any length."""
LEAK_SHARE = 0.6
"""The dev loss is below this share of the training loss ..."""
LEAK_NATS = 0.5
"""... and so far below it ..."""
LEAK_VALIDATIONS = 3
"""... in so many validations in a row."""

_IMPORTANCE, _BIAS = "model.moe.importance_loss_weight", "model.moe.choice_bias_rate"
Alarm = Callable[[AlarmHistory], Iterator[AlarmMetrics]]


class AlarmWatch:
    """Tells the alarms of a training as its log grows, each once for each layer that it is about."""

    def __init__(self, recipe: Recipe, lines: Iterable[Mapping[str, Any]] = ()) -> None:
        """Go on behind the lines that a log has already; what they tell of alarms is not told again."""
        self.history = AlarmHistory(recipe)
        self.told: set[tuple[Any, Any]] = set()
        for line in lines:
            self.history.add(line)
            if line.get("event") == AlarmMetrics.event:
                self.told.add((line.get("alarm"), line.get("where")))

    def add(self, line: Mapping[str, Any]) -> list[AlarmMetrics]:
        """Take in one more line of the log; return the alarms that it gives."""
        self.history.add(line)
        due = [
            found for alarm in ALARMS for found in alarm(self.history) if (found.alarm, found.where) not in self.told
        ]
        self.told.update((found.alarm, found.where) for found in due)
        return due


# ------------------------------------------------------------------------------------------------- experts


def collapse(history: AlarmHistory) -> Iterator[AlarmMetrics]:
    """Yield an alarm for each layer of which one expert is given nearly all tokens, each token having several."""
    k, num_experts = _experts(history)
    for layer in _layers(history) if k < num_experts else ():
        num_steps = _steps_in_a_row(history.train, layer, lambda use: use.largest_share * k >= COLLAPSE_SHARE)
        if num_steps >= COLLAPSE_STEPS:
            share = history.train[-1].layers[layer].largest_share * k
            text = f"one of {num_experts} experts is given {share:.0%} of the tokens, for {num_steps} steps now"
            yield _alarm(history, "collapse", text, _balancing(history, layer), "raise", layer)


def dead_experts(history: AlarmHistory) -> Iterator[AlarmMetrics]:
    """Yield an alarm for each layer of which an expert has had no token for ``training.overload_warning_steps``."""
    patience = history.recipe.training.overload_warning_steps
    for layer in _layers(history):
        if _steps_in_a_row(history.train, layer, lambda use: use.dead_experts > 0) >= patience:
            num_dead = history.train[-1].layers[layer].dead_experts
            text = f"{num_dead} of its experts have received no token for {patience} steps"
            yield _alarm(history, "dead experts", text, _balancing(history, layer), "raise", layer)


def overload(history: AlarmHistory) -> Iterator[AlarmMetrics]:
    """Yield an alarm for each layer whose busiest expert has had more than ``training.overload_warning_ratio`` times
    the mean for ``training.overload_warning_steps``."""
    limit, patience = history.recipe.training.overload_warning_ratio, history.recipe.training.overload_warning_steps
    _, num_experts = _experts(history)
    for layer in _layers(history):
        if _steps_in_a_row(history.train, layer, lambda use: use.largest_share * num_experts > limit) >= patience:
            now = history.train[-1].layers[layer].largest_share * num_experts
            text = f"the busiest expert has had over {limit:g} times the mean load for {patience} steps (now {now:.1f})"
            yield _alarm(history, "overload", text, _balancing(history, layer), "raise", layer)


def _experts(history: AlarmHistory) -> tuple[int, int]:
    """Return (experts of a token, of a layer); zeros where there are none."""
    moe = history.recipe.model.moe
    return (moe.experts_per_token, moe.num_experts) if moe is not None else (0, 0)


def _balancing(history: AlarmHistory, layer: str) -> list[str]:
    """Return the settings that spread the tokens of a layer evenly: weights of the losses that its gate has."""
    moe = history.recipe.model.moe
    losses = [f"model.moe.{name}_loss_weight" for name in history.train[-1].layers[layer].losses]
    return [*(losses or [_IMPORTANCE]), *([_BIAS] if moe is not None and moe.choice_bias_rate else [])]


def _layers(history: AlarmHistory) -> list[str]:
    return list(history.train[-1].layers) if history.train else []


def _steps_in_a_row(points: Sequence[TrainPoint], layer: str, is_bad: Callable[[LayerUse], bool]) -> int:
    """Return of how many steps the last lines are for which that holds without a break."""
    total = 0
    for place in range(len(points) - 1, -1, -1):
        use = points[place].layers.get(layer)
        if use is None or not is_bad(use):
            break
        total += points[place].step - (points[place - 1].step if place else 0)
    return total


# ---------------------------------------------------------------------------------------------------- loss


def divergence(history: AlarmHistory) -> Iterator[AlarmMetrics]:
    """Yield an alarm where the training loss is far above its lowest."""
    points = [now for before, now in _pairs(history.train) if _finite_steps(before, now)]
    means = [
        sum(point.loss for point in points[end - RISE_LINES : end]) / RISE_LINES
        for end in range(RISE_LINES, len(points) + 1)
    ]
    if len(means) > RISE_LINES and means[-1] - min(means) > RISE_NATS:
        text = f"the training loss has risen from {min(means):.3f} to {means[-1]:.3f} (means of {RISE_LINES} lines)"
        yield _alarm(history, "divergence", text, ["training.learning_rate", "training.clip_norm"], "lower")


def not_finite(history: AlarmHistory) -> Iterator[AlarmMetrics]:
    """Yield an alarm where the loss of too many steps since the line before was not finite."""
    if not history.train:
        return
    *_, (before, now) = _pairs(history.train)
    num_skipped, num_steps = now.skipped - before.skipped, now.step - before.step
    if num_skipped >= max(NOT_FINITE_STEPS, NOT_FINITE_SHARE * num_steps):
        text = f"the loss of {num_skipped} of the last {num_steps} steps was not finite: they have changed nothing"
        yield _alarm(history, "loss not finite", text, ["training.learning_rate", "training.clip_norm"], "lower")


def _pairs(points: Sequence[TrainPoint]) -> list[tuple[TrainPoint, TrainPoint]]:
    return list(zip([TrainPoint(0, 0.0), *points], points, strict=False))


def _finite_steps(before: TrainPoint, now: TrainPoint) -> bool:
    return now.skipped - before.skipped < now.step - before.step


# ----------------------------------------------------------------------------------------------------- dev


def overfitting(history: AlarmHistory) -> Iterator[AlarmMetrics]:
    """Yield an alarm where the dev loss has risen above its lowest for long, and the training loss has fallen."""
    if len(history.dev) <= OVERFITTING_VALIDATIONS:
        return
    best = min(history.dev, key=lambda point: (point.loss, point.step))
    last = history.dev[-OVERFITTING_VALIDATIONS:]
    has_risen = all(point.step > best.step and point.loss >= best.loss + OVERFITTING_NATS for point in last)
    before, now = (_training_loss(history, step) for step in (best.step, last[-1].step))
    if has_risen and before is not None and now is not None and now <= before - OVERFITTING_NATS:
        text = (
            f"the dev loss has risen from {best.loss:.3f} at step {best.step:,} to {last[-1].loss:.3f}, while the "
            f"training loss has fallen from {before:.3f} to {now:.3f}"
        )
        yield _alarm(history, "overfitting", text, ["model.dropout"], "stop here, or raise")


def length_drift(history: AlarmHistory) -> Iterator[AlarmMetrics]:
    """Yield an alarm where the dev translations have become too short or too long, and worse than those before."""
    known = [(point.bleu, point.length_ratio) for point in history.dev if point.bleu and point.length_ratio is not None]
    if len(known) <= DRIFT_VALIDATIONS:
        return
    best = max(range(len(known)), key=lambda place: known[place][0])
    (best_bleu, best_ratio), low, high = known[best], *DRIFT_BEGAN_WITHIN
    was_well = best < len(known) - DRIFT_VALIDATIONS and best_bleu >= DRIFT_LEAST_BLEU and low <= best_ratio <= high
    last = [ratio for _, ratio in known[-DRIFT_VALIDATIONS:]]
    shortest, longest = DRIFT_RATIOS
    if was_well and (all(ratio < shortest for ratio in last) or all(ratio > longest for ratio in last)):
        is_short = last[-1] < shortest
        what = "short" if is_short else "long"
        text = f"the dev translations have become too {what}: {last[-1]:.2f} times the references"
        yield _alarm(history, "length drift", text, ["decoding.length_alpha"], "raise" if is_short else "lower")


def leak(history: AlarmHistory) -> Iterator[AlarmMetrics]:
    """Yield an alarm where the dev set is so much easier than the training text that the model may have seen it."""
    last = history.dev[-LEAK_VALIDATIONS:]
    pairs = [(point, _training_loss(history, point.step, num_lines=1)) for point in last]
    if len(pairs) == LEAK_VALIDATIONS and all(_is_too_good(point, loss) for point, loss in pairs):
        point, loss = pairs[-1]
        text = (
            f"the dev loss, {point.loss:.3f}, is far below the training loss, {loss:.3f}: dev sentences may be in the "
            "training text, or it is much more difficult text"
        )
        is_removed = history.recipe.data.cleaning.remove_test_overlap
        what_to_do = "look for near duplicates, which stay with" if is_removed else "prepare the text anew, without"
        yield _alarm(history, "leak", text, ["data.cleaning.remove_test_overlap"], what_to_do)


def _is_too_good(point: DevPoint, training_loss: float | None) -> bool:
    return training_loss is not None and point.loss < min(LEAK_SHARE * training_loss, training_loss - LEAK_NATS)


def _training_loss(history: AlarmHistory, step: int, num_lines: int = RISE_LINES) -> float | None:
    """Return the mean training loss of the last lines up to a step; None where there is none."""
    losses = [point.loss for point in history.train if point.step <= step][-num_lines:]
    return sum(losses) / len(losses) if losses else None


# ------------------------------------------------------------------------------------------------- helpers

ALARMS: tuple[Alarm, ...] = (
    collapse, dead_experts, overload, divergence, not_finite, overfitting, length_drift, leak,
)  # fmt: skip


def _alarm(
    history: AlarmHistory, name: str, text: str, settings: Sequence[str], what_to_do: str, where: str | None = None
) -> AlarmMetrics:
    """Return an alarm whose text ends with what to do with which settings, and their values now."""
    values = {key: _value(history.recipe, key) for key in settings}
    told = " and ".join(f"{key} = {_shown(value)}" for key, value in values.items())
    step = max(points[-1].step for points in (history.train, history.dev) if points)
    place = f"{where}: " if where else ""
    return AlarmMetrics(step=step, alarm=name, where=where, text=f"{place}{text}; {what_to_do} {told}", settings=values)


def _value(recipe: Recipe, key: str) -> float | bool:
    value: Any = recipe
    for name in key.split("."):
        value = getattr(value, name)
    return value if isinstance(value, bool) else float(value)


def _shown(value: float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"
