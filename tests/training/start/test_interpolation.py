"""Weights between those of step 0 and the trained ones: which are chosen, what they are, and what they leave alone."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mtmoe.checkpoint import (
    RunFiles,
    find_checkpoint,
    find_checkpoints,
    list_steps,
    load_state,
    load_training,
    read_weights,
)
from mtmoe.config import Recipe, recipe_from_dict
from mtmoe.data.prepared.preparation import prepare
from mtmoe.errors import UserError
from mtmoe.training import trainer
from mtmoe.training.metrics.records import (
    DevSetMetrics,
    InterpolationMetrics,
    InterpolationTrial,
    ModelQuality,
    ValidationMetrics,
)
from mtmoe.training.reporting import SilentReporter
from mtmoe.training.start.interpolation import find_share
from mtmoe.training.trainer import run_training
from tests.toy import toy_settings, write_text

NUM_STEPS = 6
AVERAGED = {"ema": {"decay": 0.5, "every_steps": 1}}


class Told(SilentReporter):
    """What a training says at its end."""

    def __init__(self) -> None:
        self.ends: list[InterpolationMetrics] = []
        self.validations: list[ValidationMetrics] = []
        self.warnings: list[str] = []

    def interpolated(self, metrics: InterpolationMetrics) -> None:
        self.ends.append(metrics)

    def validated(self, metrics: ValidationMetrics) -> None:
        self.validations.append(metrics)

    def warning(self, text: str) -> None:
        self.warnings.append(text)


class Place:
    """A run of the toy, other text of the same words, and what a plain training from that run comes to."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.data = directory, directory / "new-data"
        base = recipe_from_dict(toy_settings(directory, max_steps=2, precision="fp32"), directory / "toy.toml")
        prepare(base, directory / "data", directory / "cache")
        run_training(base, directory / "base", directory / "data", resume=False, reporter=SilentReporter())
        self.begun = read_weights(find_checkpoint(RunFiles(directory / "base"), "last").path)
        prepare(self.recipe(), self.data, directory / "cache")

    def recipe(self, most_lost: float | None = None, **training: Any) -> Recipe:
        start: dict[str, Any] = {"run": str(self.directory / "base"), "checkpoint": "last"}
        if most_lost is not None:
            start["interpolation"] = {"most_lost_bleu": most_lost}
        usual = {"max_steps": NUM_STEPS, "keep_last": 1, "save_every_steps": 2, "precision": "fp32"}
        settings = toy_settings(self.directory, start=start, **(usual | training))
        settings["data"] |= {
            part: [write_text(self.directory, f"new-{part}", 40, seed) | {"name": "new"}]
            for part, seed in (("train", 7), ("valid", 8), ("test", 9))
        }
        settings["data"]["replay"] = {"data_dir": str(self.directory / "data"), "weight": 0.1}
        settings["subwords"] |= {"file": str(self.directory / "data" / "subwords.model")}
        return recipe_from_dict(settings, self.directory / "new.toml")

    def train(self, recipe: Recipe, name: str, *, resume: bool = False) -> Told:
        told = Told()
        run_training(recipe, self.directory / name, self.data, resume=resume, reporter=told)
        return told

    def distance(self, weights: Mapping[str, Tensor]) -> float:
        """Return how far weights are from those of the base."""
        return float(sum((weights[name] - begun).double().square().sum() for name, begun in self.begun.items())) ** 0.5

    def last(self, name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return load_training(find_checkpoint(RunFiles(self.directory / name), "last").path)[:2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("interpolation"))


@pytest.fixture
def place(made: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """What is measured is how far the weights are from the base: the old text loses as much as the new one gains."""

    def validator_of(recipe: Recipe, *_: object) -> Any:
        def measure(model: torch.nn.Module) -> ModelQuality:
            far = made.distance({name: p.detach() for name, p in model.named_parameters()})
            sets = {"new": DevSetMetrics(bleu=10 + far), "replay": DevSetMetrics(bleu=60 - far)}
            return ModelQuality(loss=1.0, perplexity=2.7, bleu=35.0 - far, dev_sets=sets)

        return measure

    monkeypatch.setattr(trainer, "validator_of", validator_of)
    return made


def named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def assert_equal(these: Mapping[str, Tensor], those: Mapping[str, Tensor]) -> None:
    assert these.keys() == those.keys()
    assert [name for name in these if not torch.equal(these[name], those[name])] == []


@pytest.mark.parametrize("more", [{}, AVERAGED], ids=["plain", "averaged"])
def test_the_last_checkpoint_has_the_chosen_weights_and_beside_them_all_that_training_goes_on_from(
    place, tmp_path, more
):
    run = str(tmp_path / "run")
    place.train(place.recipe(**more), f"{run}-plain")
    plain, beside = place.last(f"{run}-plain")
    lost = place.distance(plain)
    told = place.train(place.recipe(0.6 * lost, **more), run)
    weights, training = place.last(run)
    assert_equal(named(training, "trained."), plain)
    assert_equal({name: tensor for name, tensor in training.items() if not name.startswith("trained.")}, beside)
    # By hand: of 1/16 of the way, 9 are the most that lose no more than 0.6 of all.
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, place.begun[name] * (7 / 16) + plain[name] * (9 / 16), rtol=0, atol=1e-6)
    (end,) = told.ends
    assert [trial.share for trial in end.trials] == [0, 1, 0.75, 0.625, 0.5625]
    assert (end.step, end.trained_share) == (NUM_STEPS, 0.5625)
    assert end.trials[-1].old_bleu == pytest.approx(60 - 0.5625 * lost, abs=1e-3)
    assert told.validations[-1].quality.bleu == pytest.approx(35 - 0.5625 * lost, abs=1e-3)  # of what is kept
    files = RunFiles(Path(run))
    best = find_checkpoint(files, "best")  # although by the mean of both dev sets step 0 is better
    assert (best.step, load_state(best.path).trained_share) == (NUM_STEPS, 0.5625)
    assert [checkpoint.step for checkpoint in list_steps(files)] == [0, NUM_STEPS]
    assert [checkpoint.step for checkpoint in find_checkpoints(files, "best:2")] == [0, NUM_STEPS]


def test_where_the_old_text_loses_little_the_trained_weights_are_kept_to_the_bit(place, tmp_path):
    place.train(place.recipe(), str(tmp_path / "plain"))
    told = place.train(place.recipe(100.0), str(tmp_path / "run"))
    for these, those in zip(place.last(str(tmp_path / "run")), place.last(str(tmp_path / "plain")), strict=True):
        assert_equal(these, those)
    assert [end.trained_share for end in told.ends] == [1.0]
    assert find_checkpoint(RunFiles(tmp_path / "run"), "best").step == NUM_STEPS
    assert find_checkpoint(RunFiles(tmp_path / "plain"), "best").step == 0


def test_where_nothing_between_serves_the_trained_weights_stay_and_validations_choose(place, tmp_path):
    told = place.train(place.recipe(0.0), str(tmp_path / "run"))
    assert [end.trained_share for end in told.ends] == [None]
    assert load_state(find_checkpoint(RunFiles(tmp_path / "run"), "last").path).trained_share is None
    assert find_checkpoint(RunFiles(tmp_path / "run"), "best").step == 0


@pytest.mark.parametrize("more", [{}, AVERAGED], ids=["plain", "averaged"])
def test_a_resume_needs_no_start_run_and_goes_on_from_the_trained_weights(place, tmp_path, more):
    """A run that ended in interpolated weights, given more steps, is one that never ended there."""
    lost = 2.0
    place.train(place.recipe(lost, max_steps=NUM_STEPS + 3, **more), str(tmp_path / "whole"))
    shutil.copytree(place.directory / "base", tmp_path / "kept")
    place.train(place.recipe(lost, **more), str(tmp_path / "parts"))
    assert load_state(find_checkpoint(RunFiles(tmp_path / "parts"), "last").path).trained_share is not None
    shutil.rmtree(place.directory / "base")
    try:
        told = place.train(place.recipe(lost, max_steps=NUM_STEPS + 3, **more), str(tmp_path / "parts"), resume=True)
    finally:
        shutil.copytree(tmp_path / "kept", place.directory / "base")
    for these, those in zip(place.last(str(tmp_path / "parts")), place.last(str(tmp_path / "whole")), strict=True):
        assert_equal(these, those)
    assert told.ends[0].step == NUM_STEPS + 3


def test_without_step_0_nothing_is_interpolated_and_that_is_told(place, tmp_path):
    run = str(tmp_path / "run")
    place.train(place.recipe(0.2, max_steps=3), run)
    shutil.rmtree(find_checkpoint(RunFiles(Path(run)), "0").path)
    told = place.train(place.recipe(0.2), run, resume=True)
    assert (told.ends, "step 0 is not there any more: nothing is interpolated" in told.warnings[-1]) == ([], True)


def test_a_recipe_without_old_text_cannot_ask_what_it_loses(tmp_path):
    with pytest.raises(UserError, match=r"most_lost_bleu = 2.0 is of the start run's dev set.*data.replay"):
        recipe_from_dict(
            toy_settings(tmp_path, start={"run": "base", "interpolation": {"most_lost_bleu": 2.0}}),
            Path("toy.toml"),
        )


@pytest.mark.parametrize(
    ("lost_at_1", "power", "gained", "shares"),
    [
        (0.9, 2, 5.0, [0, 1]),
        (6.25, 2, 5.0, [0, 1, 0.375]),  # a share of 0.4, in whole parts
        (4.0, 1, 5.0, [0, 1, 0.5, 0.3125, 0.25]),
        (1.01, 9, 5.0, [0, 1, 0.9375]),
    ],
)
def test_the_share_is_that_of_a_square_and_smaller_where_that_loses_too_much(lost_at_1, power, gained, shares):
    found = find_share(
        lambda share: InterpolationTrial(share, 3.0 + gained * share, 36.0 - lost_at_1 * share**power), most_lost=1.0
    )
    assert [trial.share for trial in found.trials] == shares
    assert found.chosen == found.trials[-1]


@pytest.mark.parametrize(
    ("lost", "gained"),
    [
        (lambda share: 40.0 * share, 5.0),  # a part is too much
        (lambda share: 2.0 if share else 0.0, 5.0),  # any share is
        (lambda share: 0.5 * share, 0.0),
    ],
)
def test_nothing_is_chosen_that_loses_too_much_or_gains_nothing(lost, gained):
    found = find_share(lambda share: InterpolationTrial(share, 3.0 + gained * share, 36.0 - lost(share)), 1.0)
    assert found.chosen is None
    assert len(found.trials) <= 6
