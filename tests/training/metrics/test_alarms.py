"""Alarms: each is given where it should be, not just below its threshold, once, and never in a healthy training."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from mtmoe.config import Recipe, recipe_from_dict
from mtmoe.training.metrics import alarms
from mtmoe.training.metrics.alarm_history import AlarmHistory, DevPoint, LayerUse, TrainPoint
from mtmoe.training.metrics.alarms import ALARMS, AlarmWatch
from mtmoe.training.metrics.records import AlarmMetrics
from tests.paths import ROOT
from tests.toy import toy_settings

LAYER = "encoder.moe1"
Line = dict[str, Any]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Four experts, two of them a token."""
    directory = tmp_path_factory.mktemp("alarms")
    return recipe_from_dict(toy_settings(directory, overload_warning_ratio=1.5), directory / "toy.toml")


def given(history: AlarmHistory) -> list[AlarmMetrics]:
    """All alarms that hold at the end of a history."""
    return [found for alarm in ALARMS for found in alarm(history)]


def healthy_loss(step: int) -> float:
    """A loss that falls, with some noise."""
    return 2 + 7 * math.exp(-step / 400) + 0.2 * math.sin(step)


def experts(share: float = 0.3, dead: int = 0, losses: tuple[str, ...] = ("importance", "load")) -> dict[str, LayerUse]:
    """How the experts of the one layer are used."""
    return {LAYER: LayerUse(share, dead, losses)}


def history_of(
    recipe: Recipe,
    num_lines: int = 20,
    *,
    loss: Callable[[int], float] = healthy_loss,
    layers: Callable[[int], dict[str, LayerUse]] = lambda step: experts(),
    skipped: Callable[[int], int] = lambda step: 0,
    dev: Callable[[int], DevPoint] | None = None,
) -> AlarmHistory:
    """A history with a line each 50 steps and a validation each 100."""
    steps = range(50, 50 * num_lines + 1, 50)
    train = [TrainPoint(step, loss(step), skipped(step), layers(step)) for step in steps]
    validation = [dev(step) for step in steps if step % 100 == 0] if dev else []
    return AlarmHistory(recipe, train, validation)


def test_a_healthy_training_gives_no_alarm_at_any_step(recipe: Recipe) -> None:
    def dev(step: int) -> DevPoint:
        # Below the training loss, which has dropout and is a mean of the steps before; at first it translates nothing.
        return DevPoint(step, 0.8 * healthy_loss(step + 50), bleu=min(30.0, step / 60), length_ratio=1 - 60 / step)

    whole = history_of(recipe, 200, layers=lambda step: experts(0.3, int(step == 50)), dev=dev)
    for end in range(201):
        part = AlarmHistory(recipe, whole.train[:end], whole.dev[: end // 2])
        assert given(part) == []


@pytest.mark.parametrize(("share", "fires"), [(0.45, True), (0.44, False)])
def test_a_collapse_is_told_when_nearly_all_tokens_have_one_expert(recipe: Recipe, share: float, fires: bool) -> None:
    history = history_of(recipe, 2, layers=lambda step: experts(share))
    found = [it for it in given(history) if it.alarm == "collapse"]
    assert bool(found) == fires
    if fires:
        (it,) = found
        assert it.text == (
            "encoder.moe1: one of 4 experts is given 90% of the tokens, for 100 steps now; raise "
            "model.moe.importance_loss_weight = 0.01 and model.moe.load_loss_weight = 0.01"
        )
        assert it.settings == {"model.moe.importance_loss_weight": 0.01, "model.moe.load_loss_weight": 0.01}
        assert (it.step, it.where) == (100, LAYER)
    assert not list(alarms.collapse(history_of(recipe, 1, layers=lambda step: experts(share))))


def test_where_every_token_has_all_experts_no_share_is_a_collapse(recipe: Recipe) -> None:
    moe = recipe.model.moe.model_copy(update={"num_experts": 2})
    all_of_them = recipe.model_copy(update={"model": recipe.model.model_copy(update={"moe": moe})})
    assert not list(alarms.collapse(history_of(all_of_them, layers=lambda step: experts(0.5))))


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (experts(0.3, 1), "1 of its experts have received no token for 500 steps; raise"),
        (experts(0.4), "the busiest expert has had over 1.5 times the mean load for 500 steps (now 1.6); raise"),
    ],
)
def test_dead_and_overloaded_experts_are_told_after_steps_in_a_row(
    recipe: Recipe, bad: dict[str, LayerUse], told: str
) -> None:
    def interrupted(step: int) -> dict[str, LayerUse]:
        return bad if step != 500 else experts()

    assert given(history_of(recipe, 9, layers=lambda step: bad)) == []
    (found,) = given(history_of(recipe, 10, layers=lambda step: bad))
    assert told in found.text
    assert given(history_of(recipe, 19, layers=interrupted)) == []
    assert len(given(history_of(recipe, 20, layers=interrupted))) == 1


@pytest.mark.parametrize(
    ("losses", "bias", "named"),
    [
        (("importance", "load"), 0, ["importance_loss_weight", "load_loss_weight"]),
        (("importance",), 0, ["importance_loss_weight"]),
        (("threshold",), 0, ["threshold_loss_weight"]),
        ((), 0, ["importance_loss_weight"]),
        (("importance",), 0.001, ["importance_loss_weight", "choice_bias_rate"]),
    ],
)
def test_an_alarm_names_what_spreads_the_tokens_of_that_gate(
    recipe: Recipe, losses: tuple[str, ...], bias: float, named: list[str]
) -> None:
    moe = recipe.model.moe.model_copy(update={"choice_bias_rate": bias})
    its = recipe.model_copy(update={"model": recipe.model.model_copy(update={"moe": moe})})
    found = given(history_of(its, layers=lambda step: experts(0.45, 1, losses)))
    assert [it.alarm for it in found] == ["collapse", "dead experts", "overload"]
    for it in found:
        assert list(it.settings) == [f"model.moe.{name}" for name in named]
        assert it.text.endswith(" and ".join(f"{key} = {value:g}" for key, value in it.settings.items()))


@pytest.mark.parametrize(("rise", "fires"), [(0.75, True), (0.65, False)])
def test_a_loss_that_rises_far_above_its_lowest_diverges(recipe: Recipe, rise: float, fires: bool) -> None:
    found = given(history_of(recipe, loss=lambda step: 3.0 if step <= 800 else 3.0 + rise))
    assert [it.alarm for it in found] == (["divergence"] if fires else [])
    if fires:
        assert "from 3.000 to 3.750" in found[0].text
        assert found[0].settings == {"training.learning_rate": 0.01, "training.clip_norm": 5.0}


def test_steps_whose_loss_is_not_finite_are_told_when_they_are_many(recipe: Recipe) -> None:
    assert given(history_of(recipe, skipped=lambda step: 2 * step // 50)) == []
    (found,) = given(history_of(recipe, skipped=lambda step: 3 if step == 1000 else 0))
    assert found.alarm == "loss not finite"
    assert "the loss of 3 of the last 50 steps was not finite" in found.text
    # A line of which no step changed anything has no loss, and so is no low one.
    nothing = history_of(
        recipe, 8, loss=lambda step: 0.0 if step == 200 else 5.0, skipped=lambda step: 50 * (step > 150)
    )
    assert given(nothing) == []


def test_a_dev_loss_that_rises_while_the_training_loss_falls_is_overfitting(recipe: Recipe) -> None:
    def dev(step: int, rise: float = 0.06) -> DevPoint:
        return DevPoint(step, 3 - step / 1000 if step <= 600 else 2.4 + rise)

    (found,) = given(history_of(recipe, 18, dev=dev))
    assert found.alarm == "overfitting"
    assert found.settings == {"model.dropout": 0.1}
    assert "the dev loss has risen from 2.400 at step 600 to 2.460" in found.text
    assert given(history_of(recipe, 16, dev=dev)) == []  # of two validations
    assert given(history_of(recipe, 18, dev=lambda step: dev(step, 0.04))) == []
    assert given(history_of(recipe, 18, dev=dev, loss=lambda step: 2.0)) == []  # which does not fall


@pytest.mark.parametrize(("ratio", "told"), [(0.79, "short"), (1.26, "long"), (0.81, ""), (1.24, "")])
def test_translations_that_become_too_short_or_long_are_told(recipe: Recipe, ratio: float, told: str) -> None:
    def dev(step: int, bleu: float = 5.0, before: float = 1.0) -> DevPoint:
        return DevPoint(step, 3.0, bleu if step <= 800 else 4.0, before if step <= 800 else ratio)

    found = given(history_of(recipe, dev=dev))
    assert [it.alarm for it in found] == (["length drift"] if told else [])
    if told:
        assert f"too {told}: {ratio} times the references" in found[0].text
        assert found[0].settings == {"decoding.length_alpha": 0.2}
    assert given(history_of(recipe, 18, dev=dev)) == []  # one validation alone
    assert given(history_of(recipe, dev=lambda step: dev(step, bleu=4.9))) == []
    assert given(history_of(recipe, dev=lambda step: dev(step, before=1.2))) == []  # no drift: it was never better


def test_translations_that_get_better_may_have_any_length(recipe: Recipe) -> None:
    """As those of a real run of 160 steps, whose model cannot translate yet."""
    measured = {40: (1.6, 0.5), 80: (5.5, 1.07), 120: (9.2, 0.7), 160: (11.0, 0.7)}
    dev = [DevPoint(step, 4.0, bleu, ratio) for step, (bleu, ratio) in measured.items()]
    assert given(AlarmHistory(recipe, [], dev)) == []


@pytest.mark.parametrize(("share", "fires"), [(0.59, True), (0.61, False)])
def test_a_dev_set_that_is_far_easier_than_the_training_text_may_be_in_it(
    recipe: Recipe, share: float, fires: bool
) -> None:
    found = given(history_of(recipe, loss=lambda step: 3.0, dev=lambda step: DevPoint(step, 3.0 * share)))
    assert [it.alarm for it in found] == (["leak"] if fires else [])
    if fires:
        assert found[0].text.endswith("near duplicates, which stay with data.cleaning.remove_test_overlap = true")
    low = history_of(recipe, loss=lambda step: 0.3, dev=lambda step: DevPoint(step, 0.3 * share))
    assert given(low) == []  # both are low: little says nothing


def lines_of_a_collapse() -> list[Line]:
    """Lines of a log as it is written, with an expert too many and one too few."""
    found: list[Line] = []
    for step in range(50, 1001, 50):
        shares = {f"{LAYER}.token_share": [0.5, 0.3, 0.2, 0.0], f"{LAYER}.dead_experts": 1, f"{LAYER}.load_loss": 0.1}
        found.append({"event": "train", "step": step, "loss": 3.0, "skipped_steps": 0, **shares})
    return found


def test_an_alarm_is_told_once_whether_or_not_the_training_was_interrupted(recipe: Recipe) -> None:
    lines = lines_of_a_collapse()
    whole = AlarmWatch(recipe)
    told = [whole.add(line) for line in lines]
    at = {(alarm.alarm, alarm.step) for due in told for alarm in due}
    assert at == {("collapse", 100), ("dead experts", 500), ("overload", 500)}
    assert sum(map(len, told)) == 3
    for stopped in range(len(lines)):
        log = [line for number in range(stopped) for line in (lines[number], *(it.line() for it in told[number]))]
        log = [json.loads(json.dumps({"event": "alarm", **line} if "alarm" in line else line)) for line in log]
        resumed = AlarmWatch(recipe, log)
        assert [resumed.add(line) for line in lines[stopped:]] == told[stopped:]


def test_many_experts_whose_shares_are_not_listed_are_watched_too(recipe: Recipe) -> None:
    history = AlarmHistory(recipe)
    history.add(
        {
            "event": "train",
            "step": 5,
            "loss": 1.0,
            "m.token_share_max": 0.4,
            "m.dead_experts": 2,
            "m.importance_loss": 0,
        }
    )
    assert history.train == [TrainPoint(5, 1.0, 0, {"m": LayerUse(0.4, 2, ("importance",))})]


def test_lines_without_a_loss_and_of_other_events_are_passed_over(recipe: Recipe) -> None:
    history = AlarmHistory(recipe)
    for line in ({"event": "train", "step": 5, "loss": None}, {"event": "interpolation", "step": 1, "loss": 2.0}, {}):
        history.add(line)
    history.add({"event": "validation", "step": 6, "loss": 2.5, "bleu": 3.0})
    assert (history.train, history.dev) == ([], [DevPoint(6, 2.5, 3.0)])


def test_the_documents_have_every_alarm_with_its_thresholds() -> None:
    page = (ROOT / "docs" / "tutorial" / "reading-a-report.md").read_text(encoding="utf-8")
    rows = dict(row.strip("| ").split(" | ", 1) for row in page.splitlines() if row.startswith("| "))
    thresholds = {
        "collapse": (f"{alarms.COLLAPSE_SHARE:.0%}".replace("%", " %"), alarms.COLLAPSE_STEPS),
        "dead experts": ("training.overload_warning_steps",),
        "overload": ("training.overload_warning_ratio", "training.overload_warning_steps"),
        "divergence": (alarms.RISE_NATS, alarms.RISE_LINES),
        "loss not finite": (alarms.NOT_FINITE_STEPS, f"{100 * alarms.NOT_FINITE_SHARE:g} %"),
        "overfitting": (alarms.OVERFITTING_VALIDATIONS, alarms.OVERFITTING_NATS),
        "length drift": (
            alarms.DRIFT_VALIDATIONS, *alarms.DRIFT_RATIOS, *alarms.DRIFT_BEGAN_WITHIN, f"{alarms.DRIFT_LEAST_BLEU:g}",
        ),
        "leak": (alarms.LEAK_VALIDATIONS, f"{100 * alarms.LEAK_SHARE:g} %", alarms.LEAK_NATS),
    }  # fmt: skip
    assert len(thresholds) == len(ALARMS)
    for alarm, figures in thresholds.items():
        assert all(str(figure) in rows[alarm] for figure in figures), alarm
