"""Training: from a prepared corpus and a recipe to a run directory.

Exactness: everything random in a step is a function of (seed, step, batch of the step, sentence, position), and the
data position is part of every checkpoint. So a run that is stopped at any step and resumed has the same parameters, to
the bit, as one that never stopped (same machine, same number of threads and processes); with another number of
processes the same but for rounding.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from mtmoe.checkpoint import (
    RunFiles,
    belongs_to_launch,
    create_run,
    last_checkpoint,
    load_run_recipe,
    load_training,
    load_weights,
    locked_run,
    open_run,
    remove_unfinished,
    save_launch,
    save_recipe,
)
from mtmoe.config import Recipe
from mtmoe.data.batches import Batch, BatchStream, Position
from mtmoe.data.preparation import Prepared, open_prepared
from mtmoe.data.running_text import RunningTextStream
from mtmoe.data.subwords import SubwordModel
from mtmoe.data.vocabularies import Vocabulary, load_vocabulary
from mtmoe.device import precision_on
from mtmoe.distributed.expert_parallel import parallelise
from mtmoe.distributed.gradients import spread_infinity, sum_gradients
from mtmoe.distributed.launch import launch_name
from mtmoe.distributed.mesh import ONE_PROCESS, Mesh, device_of_process, joined_processes
from mtmoe.distributed.sentences import of_all_sentences, own_sentences
from mtmoe.distributed.shards import whole_tensor
from mtmoe.errors import UserError
from mtmoe.model.building import Network, build_model
from mtmoe.model.language_model import LanguageModel, LanguageModelState
from mtmoe.model.noise import keyed_noise
from mtmoe.model.routing import Balance
from mtmoe.model.translation import Output
from mtmoe.training.expert_use import ExpertUse
from mtmoe.training.interruption import StopSignals
from mtmoe.training.loss import CrossEntropy, output_cross_entropy
from mtmoe.training.metrics import MetricsLog
from mtmoe.training.operations import training_operations
from mtmoe.training.optimizer import Adam, WeightAverage, keep_experts_in_bf16, learning_rate
from mtmoe.training.reporting import Reporter, SilentReporter
from mtmoe.training.sampled_softmax import sampled_cross_entropy
from mtmoe.training.saving import Saver, Snapshot
from mtmoe.training.validation import validator_of

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


class Finished(NamedTuple):
    """How a run ended. reason: "max_steps", "early_stopping", "signal"; signal: its number, else 0."""

    reason: str
    step: int
    signal: int


class StepOutcome(Enum):
    """APPLIED: the weights were updated. SKIPPED: loss or gradient were not finite. SCALING: the same, while fp16
    looks for its loss scale. OUT_OF_MEMORY: a process had too little for the forward and backward pass."""

    APPLIED = "applied"
    SKIPPED = "skipped"
    SCALING = "scaling"
    OUT_OF_MEMORY = "out of memory"


class StepResult(NamedTuple):
    """One optimizer step. Sums over its target tokens, in nats.

    broken_layer: of a skipped step, the first MoE layer whose gates were not finite, or "". out_of_memory: the
    processes that had too little memory.
    """

    loss_sum: float
    num_target_tokens: int
    num_source_tokens: int
    num_padded_tokens: int
    gradient_norm: float
    auxiliary_loss: float
    outcome: StepOutcome
    broken_layer: str
    out_of_memory: tuple[int, ...] = ()

    @property
    def applied(self) -> bool:
        return self.outcome is StepOutcome.APPLIED


def run_training(
    recipe: Recipe,
    run_dir: Path,
    data_dir: Path,
    *,
    resume: bool,
    device: torch.device | str = "cpu",
    reporter: Reporter,
) -> Finished:
    """Train to ``max_steps`` (counted from the first step), early stopping, or SIGINT/SIGTERM.

    Workers that torchrun starts anew go on with the run that their job began, whatever ``resume`` says.

    The run's saved recipe states the text that ``data_dir`` was made of, whatever the given recipe says of text.

    Raises:
        UserError: the directories do not fit the recipe or each other, or the loss was not finite for
            ``max_nonfinite_steps`` steps in a row (the last good checkpoint stays).
    """
    # First of all: threads inherit the setting, and the first large operation starts them.
    device = device_of_process(torch.device(device))
    prepare_process(device)
    prepared = open_prepared(data_dir)
    prepared.check_suits(recipe)
    recipe = recipe.model_copy(update={"data": prepared.data_settings})
    with joined_processes(recipe, device, reporter.warning) as mesh, contextlib.ExitStack() as until_the_end:
        if mesh.is_main:
            until_the_end.enter_context(locked_run(run_dir))
            resume = resume or belongs_to_launch(run_dir, launch_name())
            run = _opened_run(recipe, run_dir, prepared, resume, device, reporter)
        mesh.wait_for_all()
        if not mesh.is_main:
            run, reporter = open_run(run_dir), SilentReporter()
        recipe = load_run_recipe(run)  # the same for all: what is found out on the way is the main process's
        trainer = Trainer(recipe, run, prepared, device, reporter, mesh)
        with StopSignals() as signals:
            return trainer.run(signals)


class Trainer:
    """One run: the model, its optimizer, the data position, and what has been measured."""

    def __init__(
        self,
        recipe: Recipe,
        run: RunFiles,
        prepared: Prepared,
        device: torch.device,
        reporter: Reporter,
        mesh: Mesh = ONE_PROCESS,
    ) -> None:
        """Of several processes all do the same, but the main one alone validates, logs and reports."""
        self.recipe, self.settings, self.run_files = recipe, recipe.training, run
        self.device, self.reporter, self.mesh = device, reporter, mesh
        self.vocabulary = load_vocabulary(run.subwords)
        self.stepper = Stepper(recipe, self.vocabulary.size, device, mesh)
        self.stream = batch_stream(recipe, prepared, self.vocabulary)
        self.validator = validator_of(recipe, prepared, self.vocabulary, device) if mesh.is_main else None
        self.operations = training_operations(recipe, self.vocabulary.size)
        self.position = Position(0, 0)
        self.best: list[tuple[int, float]] = []  # (step, value), the best first
        self.validations_without_progress = 0
        self.steps_not_finite = 0
        self.num_skipped_steps = 0
        self.num_out_of_memory_steps = 0
        self._load_last()
        self.saved_step = self.stepper.step
        self.saver = Saver(run, recipe, mesh)
        self.stepper.before_update = self.saver.wait_until_copied
        self.log = MetricsLog(run, self.stepper.step) if mesh.is_main else None
        reporter.started(self._facts(prepared))

    # ------------------------------------------------------------------------------------------- the loop

    def run(self, signals: StopSignals) -> Finished:
        """The loop. Always leaves a checkpoint of the last step behind, whatever ends it but a crash."""
        try:
            return self._run(signals)
        except BaseException:
            self.saver.give_up()
            raise

    def _run(self, signals: StopSignals) -> Finished:
        batches = self.stream.batches(self.position)
        window = Window(self.settings, self.mesh)
        first = self.stepper.step + 1
        received = 0
        reason = "early_stopping" if self._must_stop_early() else "max_steps"
        if self.stepper.step >= self.settings.max_steps:
            self.reporter.warning(
                f"step {self.stepper.step} of {self.settings.max_steps} is reached already: nothing to do "
                "(training.max_steps counts from the first step)"
            )
        while reason == "max_steps" and self.stepper.step < self.settings.max_steps:
            result = self._one_step(batches, window)
            step = self.stepper.step
            self.reporter.advanced(step)
            self._tell_of_saved()
            if step == first:
                self.saver.reserve(*self.stepper.tensors()[:2])  # all moments are there now
            if step % self.settings.log_every_steps == 0:
                self._log(window)
            if step % self.settings.validation.every_steps == 0 or step == self.settings.max_steps:
                with window.paused():
                    self._validate()
            if step % self.settings.save_every_steps == 0 and result.applied:
                with window.paused():
                    self._save()
            if received := self.mesh.largest(signals.received, "signals"):
                reason = "signal"
            elif self._must_stop_early():
                reason = "early_stopping"
        self._save()
        self.saver.finish()
        self._tell_of_saved()
        if self.log is not None:
            self.log.close()
        self.reporter.finished(reason)
        return Finished(reason, self.stepper.step, received if reason == "signal" else 0)

    def _one_step(self, batches: Iterator[tuple[Batch, Position]], window: Window) -> StepResult:
        group = []
        self.mesh.calls.at(self.stepper.step + 1, "reading a batch")
        for _ in range(self.settings.accumulate_batches):
            batch, position = next(batches)
            group.append(batch)
        result = self.stepper(group, window.expert_use)
        self.position = position
        window.add(result)
        if result.outcome in (StepOutcome.SKIPPED, StepOutcome.OUT_OF_MEMORY):
            self._skipped(result)
        elif result.applied:
            self.steps_not_finite = 0
        return result

    def _skipped(self, result: StepResult) -> None:
        self.steps_not_finite += 1
        self.num_skipped_steps += 1
        step = self.stepper.step
        if result.out_of_memory:
            self.num_out_of_memory_steps += 1
            told = broken = f"out of memory on process {', '.join(map(str, result.out_of_memory))} of {self.mesh.size}"
        else:
            loss = result.loss_sum / result.num_target_tokens
            told = f"loss {loss:g}, gradient norm {result.gradient_norm:g}"
            broken = "the loss or its gradient was not finite"
        where = f"; the gates of {result.broken_layer} were the first not to be finite" if result.broken_layer else ""
        self.reporter.warning(
            f"step {step}: {told}: the step was skipped ({self.steps_not_finite} in a row){where}"
        )  # fmt: skip
        if self.steps_not_finite < self.settings.max_nonfinite_steps:
            return
        self.saver.finish()
        last = last_checkpoint(self.run_files)
        if self.log is not None:
            self.log.close()
        raise UserError(
            f"step {step}: {broken} in {self.steps_not_finite} steps in a row{where}; "
            f"last good checkpoint: {last.path if last else 'none yet'}",
            fix=self._cure(result),
        )

    def _cure(self, result: StepResult) -> str:
        settings, precision = self.settings, self.stepper.precision
        if result.out_of_memory:
            return (
                f"lower training.batch_tokens = {settings.batch_tokens} (training.accumulate_batches = "
                f"{settings.accumulate_batches} can make up for it), or set model.moe.recompute_experts = true"
            )
        return (
            f"likely causes: training.learning_rate = {settings.learning_rate:g} too high, "
            f"training.schedule.warmup_steps = {settings.schedule.warmup_steps} too few"
            + (f", training.precision = {precision} too narrow (try fp32)" if precision != "fp32" else "")
        )

    def _must_stop_early(self) -> bool:
        stopping = self.settings.validation.early_stopping
        return stopping is not None and self.validations_without_progress >= stopping.patience

    # --------------------------------------------------------------------------------------- what is told

    def _log(self, window: Window) -> None:
        step = self.stepper.step
        expert_metrics = window.expert_use.metrics()
        rates = window.metrics(self.settings.max_steps - step)
        target_rate = rates["target_tokens_per_second"]
        source_rate = rates["source_and_target_tokens_per_second"] - target_rate
        metrics = {
            "step": step,
            "epoch": self.position.epoch,
            **rates,
            "tflops_per_device": self.operations.flops(source_rate, target_rate) / 1e12,
            "learning_rate": learning_rate(self.settings, step),
            "skipped_steps": self.num_skipped_steps,
            "out_of_memory_steps": self.num_out_of_memory_steps,
            "max_steps": self.settings.max_steps,
            **expert_metrics,
        }
        for text in window.expert_use.warnings(expert_metrics, window.num_steps):
            self.reporter.warning(f"step {step}: {text}")
        if self.log is not None:
            self.log.write("train", metrics)
        self.reporter.step(metrics)
        window.restart()

    def _validate(self) -> None:
        settings, step = self.settings.validation, self.stepper.step
        began = time.monotonic()
        model = self.stepper.whole_inference_model()
        self.mesh.calls.at(step, "measuring on the dev set", is_long=True)
        measured = self.validator(model) if self.validator is not None and model is not None else {}
        value = self.mesh.value_of_main(measured.get(settings.metric, 0.0), "the dev set's result")
        improved = not self.best or _is_better(settings.metric, value, self.best[0][1])
        self.best = sorted(
            [*self.best, (step, value)],
            key=lambda entry: (-entry[1] if settings.metric == "bleu" else entry[1], entry[0]),
        )
        self.validations_without_progress = 0 if improved else self.validations_without_progress + 1
        metrics = {
            "step": step,
            "epoch": self.position.epoch,
            **measured,
            "metric": settings.metric,
            "best_step": self.best[0][0],
            "best": self.best[0][1],
            "seconds": round(time.monotonic() - began, 2),
        }
        if self.log is not None:
            self.log.write("validation", metrics)
        self.reporter.validated(metrics)
        # One of the best checkpoints has to exist to be kept.
        if any(kept == step for kept, _ in self.best[: self.settings.keep_best]):
            self._save()

    def _facts(self, prepared: Prepared) -> dict[str, Any]:
        return {
            "step": self.stepper.step,
            "max_steps": self.settings.max_steps,
            "task": self.recipe.task,
            "num_parameters": self.stepper.num_parameters,
            "num_train_pairs": len(prepared.train),
            "num_left_out_pairs": self.stream.num_left_out,
            "num_valid_pairs": len(prepared.valid),
            "device": str(self.device),
            "num_threads": torch.get_num_threads(),
            "num_processes": self.mesh.size,
            "expert_processes": self.mesh.expert_size,
            "precision": self.stepper.precision,
        }

    # ------------------------------------------------------------------------------------------- checkpoints

    def _save(self) -> None:
        step = self.stepper.step
        if not self.stepper.num_updates:
            return  # nothing has been learned yet; a resume begins anew and comes to the same
        if self.saved_step == step:
            return
        weights, training, optimizer_state = self.stepper.tensors()
        state = {
            "position": list(self.position),
            "metric": self.settings.validation.metric,
            "best": self.best,
            "validations_without_progress": self.validations_without_progress,
            "steps_not_finite": self.steps_not_finite,
            "num_skipped_steps": self.num_skipped_steps,
            "num_out_of_memory_steps": self.num_out_of_memory_steps,
            "optimizer": optimizer_state,
        }
        best_steps = [s for s, _ in self.best[: self.settings.keep_best]]
        self.saver.begin(Snapshot(step, weights, training, state, best_steps))
        self.saved_step = step

    def _tell_of_saved(self) -> None:
        written = self.saver.newly_written()
        if written is not None:
            self.reporter.saved(written.step, written.path)

    def _load_last(self) -> None:
        if self.mesh.is_main:
            remove_unfinished(self.run_files.checkpoints)
        last = last_checkpoint(self.run_files)
        if last is None:
            return
        weights, training, state = load_training(last.path, self.mesh)
        self.stepper.load(weights, training, state["step"], state["optimizer"], last.path)
        self.position = Position(*state["position"])
        if state["metric"] == self.settings.validation.metric:  # values of another one cannot be compared
            self.best = [(int(step), float(value)) for step, value in state["best"]]
            self.validations_without_progress = state["validations_without_progress"]
        self.steps_not_finite = state["steps_not_finite"]
        self.num_skipped_steps = state["num_skipped_steps"]
        self.num_out_of_memory_steps = state.get("num_out_of_memory_steps", 0)


class _Passed(NamedTuple):
    """What a process knows of its part of a batch. loss_sum: in nats."""

    loss_sum: float
    balance_loss: float
    balances: Mapping[str, Balance]


class Stepper:
    """The model, its optimizer and average: one call is one optimizer step.

    carried: of a language model on running text, the LSTMs' state of this process's rows after the last batch; None
    is zeros.

    before_update: called before a step changes weights, moments or averages.
    """

    def __init__(self, recipe: Recipe, vocabulary_size: int, device: torch.device, mesh: Mesh = ONE_PROCESS) -> None:
        self.recipe, self.settings, self.device, self.mesh = recipe, recipe.training, device, mesh
        self.precision = precision_on(device, self.settings.precision)
        torch.manual_seed(_mixed(recipe.seed, 0, 0))
        # Every process draws all weights, so that they are the same for any mesh, and then keeps its share.
        self.model = build_model(recipe, vocabulary_size).train()
        whole_state = self.model.state_dict()
        self.num_parameters = sum(p.numel() for p in self.model.parameters())
        parallelise(self.model, mesh)
        self.model.to(device)
        if self.settings.expert_weights == "bf16":
            keep_experts_in_bf16(self.model)
        self.source_noise, self.target_noise = keyed_noise(self.model)
        self.optimizer = Adam(dict(self.model.named_parameters()), self.settings, mesh, seed=recipe.seed)
        self.average: WeightAverage | None = None
        if self.settings.exponential_average is not None:
            averaged = build_model(recipe, vocabulary_size).eval()
            averaged.load_state_dict(whole_state)
            parallelise(averaged, mesh)
            self.average = WeightAverage(averaged.to(device), self.settings.exponential_average)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")
        self.step = 0
        self.num_updates = 0
        self.carried: LanguageModelState | None = None
        self.before_update: Callable[[], None] = lambda: None

    @property
    def inference_model(self) -> Network:
        """The averaged weights where there are any."""
        return self.average.averaged if self.average is not None else self.model  # type: ignore[return-value]

    def whole_inference_model(self) -> Network | None:
        """The inference model with all experts, on the main process; None on the others, which must ask, too."""
        if self.mesh.expert_size == 1:
            return self.inference_model if self.mesh.is_main else None
        with torch.device("meta"):
            whole = build_model(self.recipe, self.model.vocabulary_size)
        if self.mesh.is_main:
            whole.to_empty(device=self.device)
        # A matrix with two names (tied embeddings) has become two.
        places = dict(whole.named_parameters(remove_duplicate=False))
        for name, own in self.inference_model.named_parameters(remove_duplicate=False):
            weights = whole_tensor(name, own.detach(), self.mesh, self.recipe.model.moe.num_experts)
            weights = weights.full_tensor() if isinstance(weights, DTensor) else weights
            if self.mesh.is_main:
                places[name].detach().copy_(weights)
        return whole.eval() if self.mesh.is_main else None

    def __call__(self, group: list[Batch], expert_use: ExpertUse) -> StepResult:
        """Forward, backward and update on the batches of one step, of which every process takes its sentences."""
        self.step += 1
        num_tokens = sum(batch.num_target_tokens for batch in group)
        carried = self.carried
        loss_sum = auxiliary = 0.0
        balances: list[Mapping[str, Balance]] = []
        out_of_memory = False
        for number, batch in enumerate(group):
            self.mesh.calls.begin_batch()
            passed = self._passed(batch, number, num_tokens, len(group))
            if passed is None:
                out_of_memory = True
                self._pass_without_rows(batch, number, num_tokens, len(group))
                continue
            balances.append(passed.balances)
            loss_sum += passed.loss_sum
            auxiliary += passed.balance_loss
        loss_sum, broken = self._totals(loss_sum, out_of_memory)
        counts = (
            num_tokens,
            sum(batch.num_source_tokens for batch in group),
            sum(batch.source_BS.numel() + batch.target_BT[:, 1:].numel() for batch in group),
        )
        if broken:
            self.optimizer.zero_grad()
            self.carried = carried  # of before the step, on all processes
            return StepResult(loss_sum, *counts, math.nan, auxiliary, StepOutcome.OUT_OF_MEMORY, "", broken)
        for balance in balances:
            expert_use.add(balance)
        if not math.isfinite(loss_sum):
            self.carried = None  # what is not finite would never go away again
        outcome, norm = self._update(math.isfinite(loss_sum + auxiliary))
        layer = _first_not_finite(balances, self.mesh) if outcome is StepOutcome.SKIPPED else ""
        return StepResult(loss_sum, *counts, norm, auxiliary, outcome, layer)

    def _passed(self, batch: Batch, number: int, num_tokens: int, num_batches: int) -> _Passed | None:
        """Forward and backward pass of this process's part of batch ``number``; None where memory was too little."""
        try:
            own, sentences_B = own_sentences(batch, self.mesh)
            return self._forward_and_backward(own, sentences_B, number, num_tokens, num_batches)
        except torch.OutOfMemoryError:
            return None  # the exception holds on to the memory of the pass, and must go first

    def _pass_without_rows(self, batch: Batch, number: int, num_tokens: int, num_batches: int) -> None:
        """The collectives of the batch that are still to come: the others wait for this process in them."""
        if self.mesh.size == 1:
            return
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        none = Batch(*(tensor[:0] for tensor in batch))
        if self.carried is not None:
            self.carried = self.carried.select(torch.zeros(0, dtype=torch.int64, device=self.device))
        with self.mesh.calls.without_rows():
            self._forward_and_backward(none, torch.zeros(0, dtype=torch.int64), number, num_tokens, num_batches)
        self.carried = None

    def _forward_and_backward(
        self, own: Batch, sentences_B: Tensor, number: int, num_tokens: int, num_batches: int
    ) -> _Passed:
        own = self._with_noise(own, sentences_B, number)
        with self._autocast():
            output = self._forward(own)
        loss = self._loss(output)
        balance_loss = _sum_of_balance_losses(output.balances) / num_batches
        # Gradients of the mean over all target tokens of the step, however they are divided into batches and
        # between processes.
        self.scaler.scale(loss.smoothed_sum / num_tokens + balance_loss).backward()
        return _Passed(float(loss.plain_sum.detach()), float(balance_loss.detach()), output.balances)

    def _totals(self, loss_sum: float, out_of_memory: bool) -> tuple[float, tuple[int, ...]]:
        """The loss of all processes, and those that were out of memory: the same on each."""
        told = torch.zeros(1 + self.mesh.size, dtype=torch.float64, device=self.device)
        told[0], told[1 + self.mesh.rank] = loss_sum, float(out_of_memory)
        total, *broken = self.mesh.add_up(told, "the loss").tolist()
        return total, tuple(rank for rank, is_broken in enumerate(broken) if is_broken)

    def _with_noise(self, own: Batch, sentences_B: Tensor, number: int) -> Batch:
        """On the device, with the random numbers that its sentences have in batch ``number`` of the step."""
        own, sentences_B = own.to(self.device), sentences_B.to(self.device)
        seed = _mixed(self.recipe.seed, self.step, number)
        torch.manual_seed(seed)  # of the classes that a sampled softmax draws: the same ones on every process
        self.source_noise.begin(seed, sentences_B, own.source_lengths_B, own.source_BS.shape[1])
        self.target_noise.begin(seed, sentences_B, own.target_lengths_B, own.target_BT.shape[1] - 1)
        return own

    def _forward(self, batch: Batch) -> Output:
        if isinstance(self.model, LanguageModel) and self.settings.unrolled_steps:
            output, state = self.model.continued(batch, self.carried)
            self.carried = state.detached()
            return output
        return self.model(batch)

    def _loss(self, output: Output) -> CrossEntropy:
        dtype = PRECISIONS[self.precision]
        if self.settings.sampled_softmax is not None:
            num_draws = self.settings.sampled_softmax.num_samples
            return sampled_cross_entropy(output.hidden_ND, self.model.output_VD, output.labels_N, num_draws, dtype)
        smoothing = self.settings.label_smoothing
        return output_cross_entropy(output.hidden_ND, self.model.output_VD, output.labels_N, smoothing, dtype)

    def _update(self, loss_is_finite: bool) -> tuple[StepOutcome, float]:
        sum_gradients(self.optimizer.parameters, self.mesh)
        if self.scaler.is_enabled():
            spread_infinity(self.optimizer.parameters, self.mesh)
        self.optimizer.unscale(self.scaler)
        norm = float(self.optimizer.clip())
        finite = loss_is_finite and math.isfinite(norm)
        if finite:
            self.before_update()
            self.optimizer.set_learning_rate(learning_rate(self.settings, self.step))
            self.optimizer.step(self.scaler)
            self.num_updates += 1
            if self.average is not None:
                self.average.update(self.model, self.num_updates)
        # With fp16 a gradient that overflows is how the loss scale is found, and no failure while there is scale left.
        searching = loss_is_finite and self.scaler.is_enabled() and self.scaler.get_scale() > 1.0
        self.scaler.update()
        self.optimizer.zero_grad()
        return StepOutcome.APPLIED if finite else StepOutcome.SCALING if searching else StepOutcome.SKIPPED, norm

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, PRECISIONS[self.precision], enabled=self.precision != "fp32")

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
        """(weights for inference, what else is needed to go on, plain numbers), all by name."""
        training = dict(self.optimizer.state())
        weights = {name: p.detach() for name, p in self.inference_model.named_parameters()}
        if self.average is not None:
            training |= {f"weights.{name}": p.detach() for name, p in self.model.named_parameters()}
        if self.carried is not None:
            carried = self.carried.tensors()
            training |= {f"carried.{name}": of_all_sentences(own_B, self.mesh) for name, own_B in carried.items()}
        return weights, training, {"num_updates": self.num_updates, "loss_scale": self.scaler.state_dict()}

    def load(
        self,
        weights: Mapping[str, Tensor],
        training: Mapping[str, Tensor],
        step: int,
        optimizer_state: Mapping[str, Any],
        where: Path,
    ) -> None:
        """The inverse of :meth:`tensors`."""
        raw = {key.removeprefix("weights."): t for key, t in training.items() if key.startswith("weights.")}
        load_weights(self.model, raw or weights, where)  # without an average the two are the same
        if self.average is not None:
            load_weights(self.inference_model, weights, where)
        carried = {
            key.removeprefix("carried."): all_B[self.mesh.rank :: self.mesh.size]
            for key, all_B in training.items()
            if key.startswith("carried.")
        }
        self.carried = LanguageModelState.from_tensors(carried).to(self.device) if carried else None
        self.num_updates = optimizer_state["num_updates"]
        self.optimizer.load_state(training, self.num_updates)
        if optimizer_state["loss_scale"]:
            self.scaler.load_state_dict(optimizer_state["loss_scale"])
        self.step = step


class Window:
    """What happened since the last line of metrics. Time spent validating and saving is not counted."""

    def __init__(self, settings: Any, mesh: Mesh = ONE_PROCESS) -> None:
        self.expert_use = ExpertUse(settings, mesh)
        self.restart()

    def restart(self) -> None:
        self.expert_use.reset()
        self.loss_sum = self.norm_sum = self.auxiliary_sum = 0.0
        self.num_loss_tokens = self.num_applied = 0
        self.num_target_tokens = self.num_source_tokens = self.num_padded_tokens = self.num_steps = 0
        self.began = time.monotonic()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Do something else meanwhile, without its time being counted."""
        paused_at = time.monotonic()
        try:
            yield
        finally:
            self.began += time.monotonic() - paused_at

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
        seconds = max(time.monotonic() - self.began, 1e-9)
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


# ------------------------------------------------------------------------------------------------- helpers


def prepare_process(device: torch.device) -> None:
    """Settings of the whole process that training runs under; called where training starts, never at import."""
    if device.type == "cpu":
        # Adam's moments of rarely used rows decay to denormals, which are many times slower to compute with.
        torch.set_flush_denormal(True)
        # oneDNN keeps the code that it compiles for each shape, 1 to 2 MB for an LSTM, for the last 1,024 of them. The
        # shapes of sentences hardly come back; those of hundreds of experts do, and need more than a hundred places.
        # Read when oneDNN is first used. A value of the user's stays.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")


def batch_stream(recipe: Recipe, prepared: Prepared, vocabulary: Vocabulary) -> BatchStream | RunningTextStream:
    """The recipe's endless batches: sentences of similar length, or running text."""
    settings = recipe.training
    if settings.unrolled_steps:
        return RunningTextStream(
            prepared.train, batch_tokens=settings.batch_tokens, unrolled_steps=settings.unrolled_steps
        )
    samples = settings.subword_sampling is not None and isinstance(vocabulary, SubwordModel)
    return BatchStream(
        prepared.train,
        batch_tokens=settings.batch_tokens,
        max_tokens_per_sentence=settings.max_tokens_per_sentence,
        seed=recipe.seed,
        subword_sampling=settings.subword_sampling,
        subword_model=vocabulary if samples else None,  # type: ignore[arg-type]
    )


def _sum_of_balance_losses(balances: Mapping[str, Balance]) -> Tensor:
    losses = [loss for balance in balances.values() for loss in balance.losses.values()]
    return sum(losses[1:], losses[0]) if losses else torch.zeros(())


def _first_not_finite(batches: Iterable[Mapping[str, Balance]], mesh: Mesh) -> str:
    """The first layer, in the order of computation, whose gates are NaN or infinite on any process."""
    for balances in batches:
        for layer, balance in balances.items():
            importance_E = balance.importance_E.detach().clone()
            if not bool(mesh.add_up(importance_E, f"importance of {layer}").isfinite().all()):
                return layer
    return ""


def _mixed(seed: int, step: int, number: int) -> int:
    """One 64-bit seed of three numbers, well mixed."""
    words = np.random.SeedSequence([seed, step, number]).generate_state(2, np.uint32)
    return (int(words[0]) << 32 | int(words[1])) >> 1


def _is_better(metric: str, value: float, best: float) -> bool:
    return value > best if metric == "bleu" else value < best


def _opened_run(
    recipe: Recipe, run_dir: Path, prepared: Prepared, resume: bool, device: torch.device, reporter: Reporter
) -> RunFiles:
    """Create the run, or check that what is resumed fits the recipe and the data."""
    saved = load_run_recipe(open_run(run_dir)) if resume else None
    wanted = recipe.training.precision
    precision = saved.training.precision if saved and wanted == "auto" else precision_on(device, wanted)
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"precision": precision})})
    if saved is None:
        return create_run(run_dir, recipe, prepared.subwords_path, prepared.lexicon_path, launch=launch_name())
    run = open_run(run_dir)
    for table in ("task", "seed", "data", "subwords", "model"):
        for key, before, now in _differences(saved.model_dump()[table], recipe.model_dump()[table], table):
            raise UserError(
                f"{run_dir}: was trained with {key} = {before}, the recipe says {now}",
                fix="resume with the recipe of the run, or start a new run",
            )
    if run.subwords.read_bytes() != prepared.subwords_path.read_bytes():
        raise UserError(
            f"{run.subwords} differs from {prepared.subwords_path}: the data was prepared anew with another vocabulary",
            fix="resume with the data directory that the run began with",
        )
    for table in ("training", "decoding"):
        for key, before, now in _differences(saved.model_dump()[table], recipe.model_dump()[table], table):
            reporter.warning(f"resuming with {key} = {now} (was {before})")
    save_launch(run, launch_name())
    save_recipe(run, recipe)
    return run


def _differences(before: Any, now: Any, key: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before.keys() | now.keys()):
            yield from _differences(before.get(name), now.get(name), f"{key}.{name}")
    elif before != now:
        yield key, before, now
