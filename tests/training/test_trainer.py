"""Training of the toy language: exact resume, what is kept, what is said, and that it learns."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mtmoe.checkpoint import (
    RunFiles,
    last_checkpoint,
    list_checkpoints,
    load_model,
    load_run_recipe,
    load_state,
    load_training,
    locked_run,
    read_tensors,
    writing,
)
from mtmoe.config import Recipe, recipe_from_dict
from mtmoe.config.settings import Augmentation
from mtmoe.data.prepared.preparation import open_prepared, prepare
from mtmoe.errors import UserError
from mtmoe.inference.search.beam_search import SearchOptions, search_all
from mtmoe.model.translation import TranslationModel
from mtmoe.system import cpu_cores as processor
from mtmoe.training import step as step_module
from mtmoe.training import trainer as trainer_module
from mtmoe.training.reporting import SilentReporter
from mtmoe.training.step import Stepper
from mtmoe.training.trainer import run_training
from tests import forked
from tests.hardware import NEEDS_BF16
from tests.toy import toy_settings, write_text


class Listener(SilentReporter):
    def __init__(self) -> None:
        self.steps: list[dict] = []
        self.validations: list[dict] = []
        self.warnings: list[str] = []
        self.on_advanced = lambda step: None

    def advanced(self, step):
        self.on_advanced(step)

    def step(self, metrics):
        self.steps.append(metrics.line())

    def validated(self, metrics):
        self.validations.append(metrics.line())

    def warning(self, text):
        self.warnings.append(text)


def train(recipe, run: Path, data: Path, *, resume: bool = False, listener: Listener | None = None):
    return run_training(recipe, run, data, resume=resume, reporter=listener or Listener())


def everything_saved(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = last_checkpoint(RunFiles(run))
    assert checkpoint is not None
    return {
        f"{name}:{key}": tensor
        for name in ("model.safetensors", "training.safetensors")
        for key, tensor in read_tensors(checkpoint.path / name).items()
    }


def assert_same_bits(one: Path, other: Path) -> None:
    first, second = everything_saved(one), everything_saved(other)
    assert first.keys() == second.keys()
    for key in first:
        assert torch.equal(first[key], second[key]), key


THOROUGH = {
    "ema": {"decay": 0.9, "every_steps": 2},
    "gradient_accumulation": 2,
    "subword_sampling": {"alpha": 0.3},
}


FACTORED = {"expert_optimizer": "factored-adam", "weight_decay": 0.01}
HALVED = THOROUGH | FACTORED | {"expert_weights": "bf16"}
VARIANTS = [
    pytest.param("fp32", THOROUGH, id="averaged-accumulated-sampled"),
    pytest.param("fp32", FACTORED, id="factored"),
    *(
        pytest.param(precision, more, id=f"{name}-{precision}", marks=NEEDS_BF16 if precision == "bf16" else ())
        for name, more in (("plain", {}), ("all-of-these-and-experts-in-bf16", HALVED))
        for precision in ("bf16", "fp16", "fp32")
    ),
]


@pytest.mark.parametrize(("precision", "more"), VARIANTS)
def test_a_run_that_was_stopped_and_resumed_has_the_bits_of_one_that_never_stopped(
    toy, toy_data, tmp_path, precision, more
):
    recipe = toy(precision=precision, **more)
    train(recipe, tmp_path / "whole", toy_data)
    listener = Listener()
    listener.on_advanced = lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 5 else None
    stopped = train(recipe, tmp_path / "parts", toy_data, listener=listener)
    assert stopped == ("signal", 5, signal.SIGTERM)
    assert train(recipe, tmp_path / "parts", toy_data, resume=True).step == 12
    assert_same_bits(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("more", [{}, {"consistency": {"weight": 1.0}}, {"subword_sampling": {"alpha": 0.3}}])
def test_guided_alignment_draws_attention_to_the_table_and_resumes_with_the_same_bits(toy, toy_data, tmp_path, more):
    recipe = toy(precision="fp32", guided_alignment={"weight": 10.0}, max_steps=40, log_every_steps=5, **more)
    train(recipe, tmp_path / "whole", toy_data)
    listener = Listener()
    listener.on_advanced = lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 12 else None
    train(recipe, tmp_path / "parts", toy_data, listener=listener)
    train(recipe, tmp_path / "parts", toy_data, resume=True)
    assert_same_bits(tmp_path / "whole", tmp_path / "parts")
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["alignment_loss"] for line in lines if line["event"] == "train"]
    assert losses[-1] < losses[0] - 0.3
    plain = toy(precision="fp32", max_steps=40, log_every_steps=5, **more)
    train(plain, tmp_path / "plain", toy_data)
    first, *_ = (json.loads(line) for line in (tmp_path / "plain" / "metrics.jsonl").read_text().splitlines())
    assert "alignment_loss" not in first


def test_guided_alignment_with_data_of_an_older_version_is_told(toy, toy_data, tmp_path):
    data = shutil.copytree(toy_data, tmp_path / "data")
    (data / "translation_table.safetensors").unlink()
    with pytest.raises(UserError, match=r"training\.guided_alignment needs it"):
        train(toy(guided_alignment={}), tmp_path / "run", data)


def test_augmentation_is_trained_on_and_resumes_with_the_same_bits(toy, toy_data, tmp_path):
    """Its settings are those of the recipe, though the data directory was made without."""
    plain = toy(precision="fp32")
    augmentation = Augmentation(upper=0.3, typos=0.3, items=0.3)
    recipe = plain.model_copy(update={"data": plain.data.model_copy(update={"augmentation": augmentation})})
    train(recipe, tmp_path / "whole", toy_data)
    assert load_run_recipe(RunFiles(tmp_path / "whole")).data.augmentation == augmentation
    listener = Listener()
    listener.on_advanced = lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 5 else None
    train(recipe, tmp_path / "parts", toy_data, listener=listener)
    train(recipe, tmp_path / "parts", toy_data, resume=True)
    assert_same_bits(tmp_path / "whole", tmp_path / "parts")
    with pytest.raises(UserError, match=r"was trained with data\.augmentation"):
        train(plain, tmp_path / "parts", toy_data, resume=True)


def test_a_curriculum_is_trained_on_and_resumes_with_the_same_bits_wherever_it_stops(tmp_path):
    """Stopped before, at and after the step at which the weights change, in the middle of an epoch."""
    settings = toy_settings(tmp_path, precision="fp32", gradient_accumulation=2, save_every_steps=100)
    settings["data"]["train"].append(write_text(tmp_path, "other", 300, seed=7))
    prepare(recipe_from_dict(settings, tmp_path / "toy.toml"), tmp_path / "data", tmp_path / "cache")
    settings["training"]["curriculum"] = [
        {"source": "other", "weight": 0.0, "from_step": 0},
        {"source": "train", "weight": 0.0, "from_step": 5},
        {"source": "other", "weight": 1.0, "from_step": 5},
    ]
    recipe = recipe_from_dict(settings, tmp_path / "toy.toml")
    whole = Listener()
    train(recipe, tmp_path / "whole", tmp_path / "data", listener=whole)
    assert [line["epoch"] for line in whole.steps] == [0, 1, 1, 2]  # of steps 3, 6, 9, 12
    for stop in (4, 5, 6):
        listener = Listener()
        listener.on_advanced = lambda step, stop=stop: os.kill(os.getpid(), signal.SIGTERM) if step == stop else None
        assert train(recipe, tmp_path / f"{stop}", tmp_path / "data", listener=listener).step == stop
        train(recipe, tmp_path / f"{stop}", tmp_path / "data", resume=True)
        assert_same_bits(tmp_path / "whole", tmp_path / f"{stop}")
    del settings["training"]["curriculum"]
    train(recipe_from_dict(settings, tmp_path / "toy.toml"), tmp_path / "plain", tmp_path / "data")
    plain = everything_saved(tmp_path / "plain")
    assert any(not torch.equal(tensor, plain[key]) for key, tensor in everything_saved(tmp_path / "whole").items())


def test_a_run_keeps_the_precision_that_it_began_with(toy, toy_data, tmp_path):
    """Also where another machine would now begin with another one."""
    train(toy(max_steps=2), tmp_path / "auto", toy_data)
    assert load_run_recipe(RunFiles(tmp_path / "auto")).training.precision in ("bf16", "fp32")
    train(toy(max_steps=2, precision="fp16"), tmp_path / "run", toy_data)
    train(toy(max_steps=4), tmp_path / "run", toy_data, resume=True)
    assert load_run_recipe(RunFiles(tmp_path / "run")).training.precision == "fp16"


def test_experts_in_bf16_are_saved_as_they_are_and_translate(toy, toy_data, tmp_path):
    train(toy(**FACTORED, expert_weights="bf16"), tmp_path / "run", toy_data)
    saved = everything_saved(tmp_path / "run")
    weights = {key: tensor for key, tensor in saved.items() if key.startswith("model.safetensors:")}
    narrow = {key for key, tensor in weights.items() if tensor.dtype == torch.bfloat16}
    assert narrow == {key for key in weights if ".experts." in key} != set()
    model = load_model(tmp_path / "run", "last").model
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, weights[f"model.safetensors:{name}"].float())


@pytest.mark.parametrize("stopped_at", [5, 6])
def test_the_metrics_of_a_resumed_run_are_those_of_a_whole_one(toy, toy_data, tmp_path, stopped_at):
    """Save for times, wherever it was stopped: between two lines of metrics (every 3 steps), or at one."""
    recipe = toy(gradient_accumulation=2)
    train(recipe, tmp_path / "whole", toy_data)
    listener = Listener()
    listener.on_advanced = lambda step: os.kill(os.getpid(), signal.SIGINT) if step == stopped_at else None
    train(recipe, tmp_path / "parts", toy_data, listener=listener)
    with open(tmp_path / "parts" / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"event": "train", "step": 9, "loss": 1')  # cut off by a crash
    train(recipe, tmp_path / "parts", toy_data, resume=True)

    def told(run: Path) -> list[dict]:
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [{k: v for k, v in line.items() if "second" not in k and "flops" not in k} for line in lines]

    assert told(tmp_path / "parts") == told(tmp_path / "whole")
    assert "encoder.moe1.load_cv" in told(tmp_path / "whole")[0]


def test_the_same_seed_trains_the_same_weights_and_another_seed_others(toy, toy_data, tmp_path):
    train(toy(max_steps=4), tmp_path / "a", toy_data)
    train(toy(max_steps=4), tmp_path / "b", toy_data)
    assert_same_bits(tmp_path / "a", tmp_path / "b")
    train(toy(max_steps=4).model_copy(update={"seed": 2}), tmp_path / "c", toy_data)
    a, c = everything_saved(tmp_path / "a"), everything_saved(tmp_path / "c")
    assert any(not torch.equal(a[key], c[key]) for key in a)


def _train_and_be_killed_in_a_save(recipe: Recipe, run: Path, data: Path) -> None:
    original, saves = writing.save_tensors, []

    def save_tensors(path, tensors):
        saves.append(path)
        original(path, tensors)
        if len(saves) == 4:  # the second file of the second checkpoint is written, its state.json is not
            os.kill(os.getpid(), signal.SIGKILL)

    writing.save_tensors = save_tensors
    train(recipe, run, data)


def test_kill_9_in_the_middle_of_a_save_leaves_the_checkpoint_before_it_and_resume_is_exact(toy, toy_data, tmp_path):
    recipe = toy()
    killed = forked.run(_train_and_be_killed_in_a_save, recipe, tmp_path / "killed", toy_data)
    assert killed.status == -signal.SIGKILL, killed.stderr
    run = RunFiles(tmp_path / "killed")
    assert [c.step for c in list_checkpoints(run)] == [4]
    assert any(path.name.startswith(".unfinished") for path in run.checkpoints.iterdir())
    assert load_model(run.directory).checkpoint.step == 4
    train(recipe, run.directory, toy_data, resume=True)
    assert not any(path.name.startswith(".") for path in run.checkpoints.iterdir())
    train(recipe, tmp_path / "whole", toy_data)
    assert_same_bits(tmp_path / "whole", run.directory)


_MANY_SHAPES = """
import resource, sys, torch
from mtmoe.precision import choose_precision
from mtmoe.system.process_settings import prepare_for_training
prepare_for_training(torch.device("cpu"))
bf16 = choose_precision(torch.device("cpu"), "auto") == "bf16"
torch.set_num_threads(1)
layer, held_mib = torch.nn.LSTM(256, 256, batch_first=True), []
for number in range(400):
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        num_sentences = 17 + number % 40
        layer(torch.randn(num_sentences, 800 // num_sentences - number // 40 + 2, 256))[0].float().sum().backward()
    if number in (239, 399):
        with open("/proc/self/statm") as file:
            held_mib.append(int(file.read().split()[1]) * resource.getpagesize() / 2**20)
print(held_mib[1] - held_mib[0])
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
def test_memory_does_not_grow_with_the_number_of_batch_shapes():
    # Large tensors go back to the system at once: else what malloc keeps between its pieces, which comes and goes by
    # tens of megabytes, would be counted with what the library holds.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", _MANY_SHAPES]
    result = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert float(result.stdout) < 5, "MiB for 160 new shapes"


def _train_with_two_threads(recipe: Recipe, run: Path, data: Path, resume: bool) -> None:
    torch.set_num_threads(2)
    train(recipe, run, data, resume=resume)


def test_resume_in_a_new_process_with_two_threads_has_the_bits_of_a_whole_run(toy, toy_data, tmp_path):
    for run, max_steps, resume in (("whole", 8, False), ("parts", 4, False), ("parts", 8, True)):
        recipe = toy(max_steps=max_steps, batch_tokens=1500, ema={"decay": 0.9, "every_steps": 2})
        done = forked.run(_train_with_two_threads, recipe, tmp_path / run, toy_data, resume)
        assert done.status == 0, done.stderr
    assert_same_bits(tmp_path / "whole", tmp_path / "parts")


def test_a_second_process_may_not_train_the_same_run(toy, toy_data, tmp_path):
    train(toy(max_steps=2), tmp_path / "run", toy_data)
    with locked_run(tmp_path / "run"), pytest.raises(UserError, match="another process is training this run"):
        train(toy(max_steps=4), tmp_path / "run", toy_data, resume=True)


def test_a_resume_without_the_average_goes_on_from_the_raw_weights(toy, toy_data, tmp_path):
    averaged = toy(max_steps=8, ema={"decay": 0.99, "every_steps": 1})
    train(averaged, tmp_path / "run", toy_data)
    saved = everything_saved(tmp_path / "run")
    plain = Stepper(toy(), 300, torch.device("cpu"))
    checkpoint = last_checkpoint(RunFiles(tmp_path / "run"))
    assert checkpoint is not None
    weights, training, state = load_training(checkpoint.path)
    plain.load(weights, training, 8, state.optimizer, checkpoint.path)
    for name, parameter in plain.model.named_parameters():
        assert torch.equal(parameter, saved[f"training.safetensors:weights.{name}"])


def test_a_resume_with_another_metric_begins_a_new_list_of_the_best(toy, toy_data, tmp_path):
    train(toy(), tmp_path / "run", toy_data)
    by_loss = {"every_steps": 6, "metric": "loss", "translate_sentences": 0}
    train(toy(max_steps=18, validation=by_loss), tmp_path / "run", toy_data, resume=True)
    checkpoint = last_checkpoint(RunFiles(tmp_path / "run"))
    assert checkpoint is not None
    assert [step for step, _ in load_state(checkpoint.path).best] == [18]


def test_a_full_disk_leaves_the_checkpoint_before_and_says_so(toy, toy_data, tmp_path, monkeypatch):
    from mtmoe.checkpoint import writing as checkpoint_module

    train(toy(max_steps=4), tmp_path / "run", toy_data)

    def no_room(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "save_tensors", no_room)
    with pytest.raises(UserError, match=r"step-0000000\d: could not be written: No space left") as error:
        train(toy(max_steps=12), tmp_path / "run", toy_data, resume=True)
    assert "the checkpoint before it is intact" in error.value.fix
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000004"]


def test_the_saved_recipe_states_the_text_that_was_trained_on(toy, toy_data, tmp_path):
    other = toy({"data": {"cleaning": {"max_characters": 77}}}, max_steps=2)
    train(other, tmp_path / "run", toy_data)
    assert load_model(tmp_path / "run").recipe.data == toy().data


def test_retention_keeps_the_newest_and_the_best(toy, toy_data, tmp_path):
    recipe = toy(
        max_steps=20,
        save_every_steps=2,
        keep_last=2,
        validation={"every_steps": 4, "metric": "loss", "translate_sentences": 0},
    )
    train(recipe, tmp_path / "run", toy_data)
    run = RunFiles(tmp_path / "run")
    steps = [c.step for c in list_checkpoints(run)]
    best = load_state(run.checkpoints / "step-00000020").best[0][0]
    assert steps == sorted({18, 20, best})
    assert load_model(run.directory, "best").checkpoint.step == best
    assert load_model(run.directory, "last").checkpoint.step == 20


def test_early_stopping_ends_the_run_and_a_resume_does_not_go_on(toy, toy_data, tmp_path):
    recipe = toy(
        max_steps=100,
        learning_rate=1e-9,
        validation={
            "every_steps": 2,
            "metric": "bleu",  # which so small a learning rate does not change
            "translate_sentences": 4,
            "early_stopping": {"patience": 2},
        },
        precision="fp32",
        schedule={"kind": "constant", "warmup_steps": 0},
    )
    finished = train(recipe, tmp_path / "run", toy_data)
    assert finished == ("early_stopping", 6, 0)
    assert train(recipe, tmp_path / "run", toy_data, resume=True) == ("early_stopping", 6, 0)


def test_a_loss_that_is_not_finite_skips_the_step_and_training_goes_on(toy, toy_data, tmp_path, monkeypatch):
    _poison(monkeypatch, steps={3, 4})
    listener = Listener()
    finished = train(toy(max_nonfinite_steps=3), tmp_path / "run", toy_data, listener=listener)
    assert finished.reason == "max_steps"
    assert [text.split(":")[0] for text in listener.warnings if "skipped" in text] == ["step 3", "step 4"]
    assert listener.steps[-1]["skipped_steps"] == 2
    weights = everything_saved(tmp_path / "run")
    assert all(bool(tensor.isfinite().all()) for tensor in weights.values())


def test_a_save_that_falls_on_a_skipped_step_comes_with_the_next_one(toy, toy_data, tmp_path, monkeypatch):
    _poison(monkeypatch, steps={4, 8})
    saved = []
    listener = Listener()
    listener.saved = lambda step, path: saved.append(step)
    train(toy(max_steps=11, save_every_steps=4), tmp_path / "run", toy_data, listener=listener)
    assert [step for step in saved if step != 6] == [5, 9, 11]  # 6: the best on the dev set


def test_a_loss_that_stays_infinite_stops_with_the_last_good_checkpoint_and_likely_causes(
    toy, toy_data, tmp_path, monkeypatch
):
    _poison(monkeypatch, steps=range(6, 100))
    with pytest.raises(UserError, match=r"not finite in 3 steps in a row; last good checkpoint: .*step-00000006") as e:
        train(toy(max_nonfinite_steps=3, precision="fp32"), tmp_path / "run", toy_data)
    assert "training.learning_rate = 0.01 too high" in e.value.fix
    assert "precision" not in e.value.fix


def _noting_the_step(monkeypatch) -> list[int]:
    """A list whose only element is the number of the step that is taken."""
    now, original = [0], Stepper.__call__

    def take_step(self: Stepper, *arguments):
        now[0] = self.step + 1
        return original(self, *arguments)

    monkeypatch.setattr(Stepper, "__call__", take_step)
    return now


def _poison(monkeypatch, steps) -> None:
    """Make the gradient of some steps NaN, the way a diverging model does."""
    now, original = _noting_the_step(monkeypatch), step_module.clip_gradients

    def clip(parameters, *arguments):
        if now[0] in steps:
            next(iter(parameters.values())).grad.fill_(float("nan"))
        return original(parameters, *arguments)

    monkeypatch.setattr(step_module, "clip_gradients", clip)


def _forget_memory(monkeypatch, steps) -> None:
    now, original = _noting_the_step(monkeypatch), TranslationModel.forward

    def forward(self: TranslationModel, batch):
        if self.training and now[0] in steps:
            raise torch.OutOfMemoryError("injected")
        return original(self, batch)

    monkeypatch.setattr(TranslationModel, "forward", forward)


def test_a_step_without_enough_memory_is_skipped_counted_and_told_also_after_a_resume(
    toy, toy_data, tmp_path, monkeypatch
):
    _forget_memory(monkeypatch, steps={3, 4})
    listener = Listener()
    assert train(toy(max_steps=6), tmp_path / "run", toy_data, listener=listener).reason == "max_steps"
    assert [text for text in listener.warnings if "skipped" in text] == [
        f"step {step}: out of memory on process 0 of 1: the step was skipped ({count} in a row)"
        for count, step in enumerate((3, 4), start=1)
    ]
    train(toy(max_steps=9), tmp_path / "run", toy_data, resume=True, listener=listener)
    assert [metrics["out_of_memory_steps"] for metrics in listener.steps] == [1, 2, 2]
    assert [metrics["skipped_steps"] for metrics in listener.steps] == [1, 2, 2]


def test_memory_that_stays_too_little_stops_with_the_settings_that_need_less(toy, toy_data, tmp_path, monkeypatch):
    _forget_memory(monkeypatch, steps=range(6, 100))
    problem = r"^step 8: out of memory on process 0 of 1 in 3 steps in a row; last good checkpoint: .*step-00000006"
    with pytest.raises(UserError, match=problem) as error:
        train(toy(max_nonfinite_steps=3), tmp_path / "run", toy_data)
    assert error.value.fix == (
        "lower training.batch_tokens = 256 (training.gradient_accumulation = 1 can make up for it), or set "
        "model.moe.recompute_experts = true"
    )


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_the_first_layer_whose_gates_are_not_finite_is_named(toy, toy_data, tmp_path, monkeypatch, side):
    original = Stepper.__init__

    def poisoned(self, *args, **kwargs):
        original(self, *args, **kwargs)
        gate = getattr(self.model, side).moe_layers["1"].gate
        gate.register_forward_pre_hook(lambda _, inputs: (inputs[0] * float("nan"),) if self.step >= 2 else None)

    monkeypatch.setattr(trainer_module.Stepper, "__init__", poisoned)
    listener = Listener()
    where = f"the gates of {side}.moe1 were the first not to be finite"
    with pytest.raises(UserError, match=rf"^step 3: .* in 2 steps in a row; {where}; last good checkpoint"):
        train(toy(max_nonfinite_steps=2), tmp_path / "run", toy_data, listener=listener)
    skipped = [text for text in listener.warnings if "skipped" in text]
    assert [text.split(":")[0] for text in skipped] == ["step 2", "step 3"]
    assert all(text.endswith(where) for text in skipped)


def test_no_layer_is_named_when_all_gates_are_finite(toy, toy_data, tmp_path, monkeypatch):
    _poison(monkeypatch, steps={1})
    listener = Listener()
    train(toy(max_steps=1), tmp_path / "run", toy_data, listener=listener)
    assert any("skipped" in text for text in listener.warnings)
    assert not any("moe" in text for text in listener.warnings)


BIASED = {"choice_bias_rate": 0.01, "importance_loss_weight": 0.0}
AVERAGED = {"ema": {"decay": 0.9, "every_steps": 2}, "gradient_accumulation": 2}


@pytest.mark.parametrize(
    ("moe", "model", "more"),
    [
        (BIASED | {"gate": "sigmoid", "shared_experts": 1, "z_loss_weight": 0.01}, {}, AVERAGED),
        (BIASED | {"gate": "softmax"}, {}, {"expert_optimizer": "factored-adam", "expert_weights": "bf16"}),
        ({"gate": "expert-choice", "shared_experts": 2}, {"decoder_moe_after": []}, {}),
    ],
    ids=["sigmoid-biased-shared-averaged", "softmax-biased", "expert-choice-shared"],
)
@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=NEEDS_BF16)])
def test_a_run_with_a_newer_gate_goes_on_after_a_stop_to_the_same_bits(
    toy, toy_data, tmp_path, moe, model, more, precision
):
    moe = {"num_experts": 4, "experts_per_token": 2, "expert_hidden": 16} | moe
    tables = {"model": {**toy().model.model_dump(mode="json", exclude_defaults=True), "moe": moe, **model}}
    short = {"save_every_steps": 3, "log_every_steps": 2, "precision": precision, **more}
    short |= {"validation": {"every_steps": 6, "translate_sentences": 2}}
    listener = Listener()
    train(toy(tables, max_steps=6, **short), tmp_path / "whole", toy_data, listener=listener)
    train(toy(tables, max_steps=3, **short), tmp_path / "parts", toy_data)
    train(toy(tables, max_steps=6, **short), tmp_path / "parts", toy_data, resume=True)
    assert_same_bits(tmp_path / "whole", tmp_path / "parts")
    assert all(("encoder.moe1.z_loss" in line) == ("z_loss_weight" in moe) for line in listener.steps)
    saved = everything_saved(tmp_path / "whole")
    biases = [tensor for name, tensor in saved.items() if name.endswith("choice_bias_E")]
    assert len(biases) == (4 if "ema" in more else 2) * ("choice_bias_rate" in moe)
    assert all(bias_E.dtype == torch.float32 for bias_E in biases)
    assert any(bias_E.any() for bias_E in biases) == bool(biases)


@pytest.mark.parametrize("gate", ["noisy-top-k", "softmax", "strictly-balanced", "sigmoid"])
def test_a_run_with_two_levels_of_gating_goes_on_after_a_stop_to_the_same_bits(toy, toy_data, tmp_path, gate):
    moe = {"num_experts": 8, "experts_per_token": 4, "expert_hidden": 16, "gate": gate, "hierarchy": {"groups": 2}}
    tables = {"model": {"moe": moe}}
    short = {"save_every_steps": 2, "validation": {"every_steps": 4, "translate_sentences": 2}}
    train(toy(tables, max_steps=4, **short), tmp_path / "whole", toy_data)
    train(toy(tables, max_steps=2, **short), tmp_path / "parts", toy_data)
    train(toy(tables, max_steps=4, **short), tmp_path / "parts", toy_data, resume=True)
    assert_same_bits(tmp_path / "whole", tmp_path / "parts")


def test_an_expert_without_tokens_raises_a_warning_that_names_the_setting(toy, toy_data, tmp_path, monkeypatch):
    recipe = toy(overload_warning_steps=6)
    original = Stepper.__init__

    def lopsided(self, *args, **kwargs):
        original(self, *args, **kwargs)
        gate = self.model.encoder.moe_layers["1"].gate
        gate.gate_DE.requires_grad_(False)[:, :2] = 0.0
        gate.register_forward_pre_hook(lambda module, inputs: (torch.ones_like(inputs[0]),))
        gate.gate_DE[:, 0] = 10.0
        gate.gate_DE[:, 1] = 9.0

    monkeypatch.setattr(trainer_module.Stepper, "__init__", lopsided)
    listener = Listener()
    train(recipe, tmp_path / "run", toy_data, listener=listener)
    dead = [text for text in listener.warnings if "received no token" in text]
    assert len(dead) == 1
    assert dead[0].startswith("step 6: encoder.moe1: 2 of its experts have received no token for 6 steps")
    assert "model.moe.load_loss_weight" in dead[0]
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    (line,) = [line for line in log if line.get("alarm") == "dead experts"]
    assert (line["event"], line["step"], line["where"]) == ("alarm", 6, "encoder.moe1")
    assert f"step 6: {line['text']}" == dead[0]
    assert line["settings"] == {"model.moe.importance_loss_weight": 0.01, "model.moe.load_loss_weight": 0.01}


def test_more_threads_than_cores_are_a_warning(toy, toy_data, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "num_cores", lambda: 2)
    monkeypatch.setattr(processor, "num_cores", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    listener = Listener()
    train(toy(max_steps=1), tmp_path / "run", toy_data, listener=listener)
    assert [text for text in listener.warnings if "threads" in text] == [
        "8 threads, but only 2 cores, so that threads wait for each other: export OMP_NUM_THREADS=2"
    ]


def test_a_resume_with_another_model_names_the_setting_and_both_values(toy, toy_data, tmp_path):
    train(toy(max_steps=2), tmp_path / "run", toy_data)
    with pytest.raises(UserError, match=r"was trained with model.dropout = 0.1, the recipe says 0.2"):
        train(toy({"model": {"dropout": 0.2}}, max_steps=2), tmp_path / "run", toy_data, resume=True)


def test_a_bf16_run_on_a_machine_without_bf16_is_told_what_helps(toy, toy_data, tmp_path, monkeypatch):
    run = tmp_path / "run"
    train(toy(max_steps=2, precision="fp32"), run, toy_data)
    recipe = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(recipe.replace('precision = "fp32"', 'precision = "bf16"', 1))
    assert load_run_recipe(RunFiles(run)).training.precision == "bf16"
    monkeypatch.setattr("mtmoe.precision.onednn_has_bf16", lambda: False)
    with pytest.raises(UserError, match=r'was begun with training\.precision = "bf16": this processor has no') as error:
        train(toy(max_steps=4, precision="auto"), run, toy_data, resume=True)
    assert "resume with --set training.precision=fp32" in str(error.value)
    assert train(toy(max_steps=4, precision="fp32"), run, toy_data, resume=True).step == 4


def test_a_resume_with_more_steps_says_what_changed_and_goes_on(toy, toy_data, tmp_path):
    train(toy(max_steps=2), tmp_path / "run", toy_data)
    listener = Listener()
    finished = train(toy(max_steps=4), tmp_path / "run", toy_data, resume=True, listener=listener)
    assert finished.step == 4
    assert listener.warnings == ["resuming with training.max_steps = 4 (was 2)"]


def test_a_finished_run_that_is_resumed_says_so(toy, toy_data, tmp_path):
    train(toy(max_steps=2), tmp_path / "run", toy_data)
    listener = Listener()
    train(toy(max_steps=2), tmp_path / "run", toy_data, resume=True, listener=listener)
    assert "step 2 of 2 is reached already" in listener.warnings[0]


def test_a_directory_that_holds_a_run_is_not_written_over(toy, toy_data, tmp_path):
    train(toy(max_steps=2), tmp_path / "run", toy_data)
    with pytest.raises(UserError, match="holds a run already"):
        train(toy(max_steps=2), tmp_path / "run", toy_data)


def test_metrics_carry_rates_balance_and_the_signature_of_bleu(toy, toy_data, tmp_path):
    listener = Listener()
    train(toy(), tmp_path / "run", toy_data, listener=listener)
    metrics = listener.steps[-1]
    assert metrics["step"] == 12
    assert metrics["target_tokens_per_second"] > 0
    assert metrics["source_and_target_tokens_per_second"] > metrics["target_tokens_per_second"]
    for layer in ("encoder.moe1", "decoder.moe1"):
        assert metrics[f"{layer}.max_over_mean_load"] >= 1.0
        assert 0 <= metrics[f"{layer}.dead_experts"] <= 4
    assert "tok:13a" in listener.validations[-1]["bleu_signature"]
    assert listener.validations[-1]["perplexity"] == pytest.approx(
        torch.tensor(listener.validations[-1]["loss"]).exp().item(), rel=1e-4
    )


def test_the_validation_loss_is_that_of_the_models_own_log_probabilities(toy, toy_data, tmp_path):
    from mtmoe.data.batches.token_batches import sequential_batches

    listener = Listener()
    train(toy(), tmp_path / "run", toy_data, listener=listener)
    model = load_model(tmp_path / "run", "last").model
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in sequential_batches(open_prepared(toy_data).valid, 300):
            total -= float(model.log_probabilities(batch).sum())
            count += int(batch.target_lengths_B.sum())
    assert listener.validations[-1]["loss"] == pytest.approx(total / count, rel=1e-4)


def test_two_accumulated_batches_give_the_gradient_of_their_tokens_together(toy, toy_data):
    """Dropout, noise and auxiliary losses off, so that nothing depends on how the tokens are divided."""
    from mtmoe.data.batches.padding import batch_of
    from mtmoe.data.batches.token_batches import sequential_batches
    from mtmoe.training.metrics.expert_usage import ExpertUsage

    quiet = {"model": {"dropout": 0.0, "moe": {"kind": "dense"}}}
    recipe = toy(quiet, precision="fp32", clip_norm=1e9)
    corpus = open_prepared(toy_data).valid
    pairs = [(corpus.source(i).tolist(), corpus.target(i).tolist()) for i in range(6)]
    whole = [batch_of(*zip(*pairs, strict=True))]
    parts = [batch_of(*zip(*pairs[:2], strict=True)), batch_of(*zip(*pairs[2:], strict=True))]
    updated = []
    for group in (whole, parts):
        stepper = Stepper(recipe, 300, torch.device("cpu"))
        stepper(group, ExpertUsage())
        updated.append(stepper.optimizer.state())
    assert list(sequential_batches(corpus, 300))
    for key, moment in updated[0].items():
        torch.testing.assert_close(moment, updated[1][key], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "tables",
    [{}, {"model": {"attention_context": "recurrent", "attention": "additive", "decoder_moe_after": [2]}}],
    ids=["parallel", "recurrent"],
)
def test_the_toy_language_is_learned(toy, toy_data, tmp_path, tables):
    recipe = toy(
        {"model": {"width": 64, "dropout": 0.0, "encoder_moe_after": [1], **tables.get("model", {})}},
        max_steps=450,
        batch_tokens=1024,
        learning_rate=0.005,
        label_smoothing=0.0,
        schedule={"kind": "cosine", "warmup_steps": 20},
        validation={"every_steps": 450, "translate_sentences": 30},
        save_every_steps=450,
        precision="fp32",
    )
    began = time.monotonic()
    train(recipe, tmp_path / "run", toy_data)
    loaded = load_model(tmp_path / "run")
    lines = (toy_data / "text" / "test" / "test.source").read_text().splitlines()
    references = (toy_data / "text" / "test" / "test.target").read_text().splitlines()
    found = search_all(
        loaded.model,
        loaded.subwords.encode_batch(lines),
        SearchOptions.from_settings(recipe.decoding),
        batch_tokens=2000,
    )
    texts = [loaded.subwords.decode(hypotheses[0].ids) for hypotheses in found]
    right = sum(text == reference for text, reference in zip(texts, references, strict=True))
    assert right >= 24, f"{right} of 30 right after {time.monotonic() - began:.0f} s; first: {texts[:3]}"
