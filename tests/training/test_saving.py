"""Checkpoints that are written while training goes on."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch

from mtmoe.checkpoint import Checkpoint, OptimizerState, RunFiles, TrainingState, list_checkpoints, load_training
from mtmoe.config.settings import Training
from mtmoe.errors import UserError
from mtmoe.training import saving
from mtmoe.training.metrics.metrics_window import MetricsWindow
from mtmoe.training.reporting import SilentReporter
from mtmoe.training.saving import HostCopies, Saver, Snapshot
from mtmoe.training.trainer import run_training
from tests.training.conftest import Toy

SETTINGS = {"precision": "fp32", "max_steps": 9, "keep_last": 9, "ema": {"decay": 0.9}}


class Listener(SilentReporter):
    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []
        self.reached = {step: threading.Event() for step in range(20)}

    def advanced(self, step: int) -> None:
        self.told.append(("step", step))
        self.reached[step].set()

    def saved(self, step: int, path: Path) -> None:
        assert path.exists()
        self.told.append(("saved", step))


def _state(step: int) -> TrainingState:
    return TrainingState(
        step=step,
        position=(0, 0),
        metric="loss",
        validations_without_progress=0,
        steps_not_finite=0,
        num_skipped_steps=0,
        num_out_of_memory_steps=0,
        optimizer=OptimizerState(num_updates=step),
        window=MetricsWindow(Training(max_steps=1)).state(),
    )


def tensors_of(run: Path) -> dict[str, torch.Tensor]:
    found = {}
    for checkpoint in list_checkpoints(RunFiles(run)):
        weights, training, _ = load_training(checkpoint.path)
        found |= {f"{checkpoint.step} {name}": tensor for name, tensor in {**weights, **training}.items()}
    return found


def test_what_is_saved_is_of_its_step_however_long_the_copying_takes(
    toy: Toy, toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = toy(**SETTINGS)
    run_training(recipe, tmp_path / "fast", toy_data, resume=False, reporter=SilentReporter())
    place = HostCopies.place

    def slow_place(*arguments):
        time.sleep(0.02)
        return place(*arguments)

    monkeypatch.setattr(HostCopies, "place", slow_place)
    run_training(recipe, tmp_path / "slow", toy_data, resume=False, reporter=SilentReporter())
    fast, slow = tensors_of(tmp_path / "fast"), tensors_of(tmp_path / "slow")
    assert {name.split()[0] for name in fast} == {"4", "6", "8", "9"}
    assert fast.keys() == slow.keys()
    for name in fast:
        assert torch.equal(fast[name], slow[name]), name


def test_training_goes_on_while_a_checkpoint_is_written(
    toy: Toy, toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener, went_on = Listener(), []
    save = saving.save_checkpoint

    def save_later(run, weights, training, state) -> Checkpoint:
        if state.step == 4:
            went_on.append(listener.reached[5].wait(60))
        return save(run, weights, training, state)

    monkeypatch.setattr(saving, "save_checkpoint", save_later)
    run_training(toy(**SETTINGS), tmp_path / "run", toy_data, resume=False, reporter=listener)
    assert went_on == [True]
    assert listener.told.index(("saved", 4)) > listener.told.index(("step", 5))
    assert [step for what, step in listener.told if what == "saved"] == [4, 6, 8, 9]


def test_a_write_that_failed_is_an_error_of_the_next_save_and_not_of_the_one_after(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_) -> Checkpoint:
        raise RuntimeError("the cable is out")

    saver = Saver(RunFiles(tmp_path), toy())
    snapshot = Snapshot({"a": torch.zeros(2)}, {}, _state(3), [])
    with monkeypatch.context() as patch:
        patch.setattr(saving, "save_checkpoint", broken)
        saver.begin(snapshot)
        saver.wait_until_copied()
        with pytest.raises(UserError, match="checkpoints: the last checkpoint could not be written: the cable is out"):
            saver.begin(snapshot)
        assert saver.newly_written() == []
    saver.begin(snapshot)
    saver.finish()
    assert saver.newly_written() == [Checkpoint("step-00000003", 3, tmp_path / "checkpoints" / "step-00000003")]


@pytest.mark.parametrize(("keep_last", "told"), [(2, [3, 5]), (1, [5])])
def test_each_checkpoint_that_is_there_is_told_of_once(
    toy: Toy, tmp_path: Path, keep_last: int, told: list[int]
) -> None:
    saver = Saver(RunFiles(tmp_path), toy(keep_last=keep_last))
    for step in (3, 5):  # the second begins, and waits for the first, before anybody has asked
        saver.begin(Snapshot({"a": torch.zeros(2)}, {}, _state(step), []))
        saver.wait_until_copied()
    saver.finish()
    assert [checkpoint.step for checkpoint in saver.newly_written()] == told
    assert saver.newly_written() == []


def test_copies_keep_their_memory_and_are_of_any_layout_and_type() -> None:
    copies = HostCopies()
    tensors = {"turned": torch.arange(6.0).view(2, 3).t(), "number": torch.tensor(3), "bf16": torch.ones(2).bfloat16()}
    copies.reserve(tensors, tensors)
    first, second = copies.of(tensors, {"turned": tensors["turned"] + 1, "other": torch.zeros(1)})
    assert first.keys() == tensors.keys()
    for name, copy in first.items():
        assert torch.equal(copy, tensors[name])
        assert copy.dtype == tensors[name].dtype
        assert copy.is_contiguous()
    assert torch.equal(second["turned"], tensors["turned"] + 1)
    assert copies.of(tensors)[0]["turned"].data_ptr() == first["turned"].data_ptr()
