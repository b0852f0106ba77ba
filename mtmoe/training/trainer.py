"""Training: from a prepared corpus and a recipe to a run directory.

Exactness: everything random in a step is a function of (seed, step, batch of the step, sentence, position), and the
data position is part of every checkpoint. So a run that is stopped at any step and resumed has the same parameters, to
the bit, as one that never stopped (same machine, same number of threads and processes); with another number of
processes the same but for rounding.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mtmoe.checkpoint import (
    RunFiles,
    WindowState,
    belongs_to_launch,
    check_file,
    last_checkpoint,
    load_run_recipe,
    load_training,
    locked_run,
    open_run,
    remove_unfinished,
)
from mtmoe.config import Recipe
from mtmoe.data.batches.running_text import RunningTextStream
from mtmoe.data.batches.token_batches import Batch, BatchStream, Position
from mtmoe.data.prepared.preparation import Prepared, open_prepared
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.data.subwords.vocabularies import Vocabulary, load_vocabulary
from mtmoe.device import select_cuda_device
from mtmoe.distributed.launch import launch_name
from mtmoe.distributed.mesh import ONE_PROCESS, Mesh, device_of_process, joined_processes
from mtmoe.errors import UserError
from mtmoe.system.cpu_cores import fair_threads, num_cores
from mtmoe.system.torchrun import local_world_size
from mtmoe.training.interruption import StopSignals
from mtmoe.training.metrics.metrics_log import MetricsLog
from mtmoe.training.metrics.metrics_window import Window
from mtmoe.training.metrics.training_flops import training_operations
from mtmoe.training.optimizers.learning_rate import learning_rate
from mtmoe.training.reporting import Reporter, SilentReporter
from mtmoe.training.run_setup import open_or_create_run
from mtmoe.training.saving import Saver, Snapshot
from mtmoe.training.step import StepOutcome, Stepper, StepResult
from mtmoe.training.validation import validator_of


class Finished(NamedTuple):
    """How a run ended. reason: "max_steps", "early_stopping", "signal"; signal: its number, else 0."""

    reason: str
    step: int
    signal: int


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
    device = device_of_process(torch.device(device))
    select_cuda_device(device)
    prepared = open_prepared(data_dir)
    prepared.check_suits(recipe)
    recipe = recipe.model_copy(update={"data": prepared.data_settings})
    with joined_processes(recipe, device, reporter.warning) as mesh, contextlib.ExitStack() as until_the_end:
        if mesh.is_main:
            until_the_end.enter_context(locked_run(run_dir))
            resume = resume or belongs_to_launch(run_dir, launch_name())
            run = open_or_create_run(recipe, run_dir, prepared, resume, device, reporter)
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
        """Of several processes all do the same, but the main one alone logs and reports."""
        self.recipe, self.settings, self.run_files = recipe, recipe.training, run
        self.device, self.reporter, self.mesh = device, reporter, mesh
        self.vocabulary = load_vocabulary(check_file(run, run.subwords))
        self.stepper = Stepper(recipe, self.vocabulary.size, device, mesh)
        self.stream = batch_stream(recipe, prepared, self.vocabulary)
        self.validator = validator_of(recipe, prepared, self.vocabulary, device, mesh)
        self.operations = training_operations(recipe, self.vocabulary.size)
        self.position = Position(0, 0)
        self.best: list[tuple[int, float]] = []  # (step, value), the best first
        self.validations_without_progress = 0
        self.steps_not_finite = 0
        self.num_skipped_steps = 0
        self.num_out_of_memory_steps = 0
        self.window = Window(self.settings, mesh)
        self.window_state: WindowState | None = None  # of a run that goes on
        self._load_last()
        self.saved_step = self.stepper.step
        self.saver = Saver(run, recipe, mesh)
        self.stepper.before_update = self.saver.wait_until_copied
        self.log = MetricsLog(run, self.stepper.step, reporter.warning) if mesh.is_main else None
        reporter.started(self._facts(prepared))
        self._warn_of_threads()

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
        window = self.window
        window.restart()  # its clock, that is
        if self.window_state is not None:
            window.load_state(self.window_state)
        first = self.stepper.step + 1
        received = 0
        reason = "early_stopping" if self._must_stop_early() else "max_steps"
        if self.stepper.step >= self.settings.max_steps:
            self.reporter.warning(
                f"step {self.stepper.step} of {self.settings.max_steps} is reached already: nothing to do "
                "(training.max_steps counts from the first step)"
            )
        is_due = False  # a save: a step that changes nothing puts it off to the next that does
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
            is_due = is_due or step % self.settings.save_every_steps == 0
            if is_due and result.applied:
                is_due = False
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
        self.mesh.collective_log.at(self.stepper.step + 1, "reading a batch")
        for _ in range(self.settings.gradient_accumulation):
            batch, position = next(batches)
            group.append(batch)
        result = self.stepper(group, window.expert_usage)
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
                f"lower training.batch_tokens = {settings.batch_tokens} (training.gradient_accumulation = "
                f"{settings.gradient_accumulation} can make up for it), or set model.moe.recompute_experts = true"
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
        expert_metrics = window.expert_usage.metrics()
        rates = window.metrics(self.settings.max_steps - step)
        target_rate = rates["target_tokens_per_second"]
        source_rate = rates["source_and_target_tokens_per_second"] - target_rate
        metrics = {
            "step": step,
            "epoch": self.position.epoch,
            **rates,
            "tflops_per_device": self.operations.flops(source_rate, target_rate) / self.mesh.size / 1e12,
            "learning_rate": learning_rate(self.settings, step),
            "skipped_steps": self.num_skipped_steps,
            "out_of_memory_steps": self.num_out_of_memory_steps,
            "max_steps": self.settings.max_steps,
            **expert_metrics,
        }
        for text in window.expert_usage.warnings(window.num_steps):
            self.reporter.warning(f"step {step}: {text}")
        if self.log is not None:
            self.log.write("train", metrics)
        self.reporter.step(metrics)
        window.restart()

    def _validate(self) -> None:
        settings, step = self.settings.validation, self.stepper.step
        began = time.monotonic()
        self.mesh.collective_log.at(step, "measuring on the dev set", is_long=True)
        measured = self.validator(self.stepper.inference_model)
        value = self.mesh.value_of_main(measured.get(settings.metric, 0.0), "the dev set's result")
        self.mesh.agree_on_number()
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

    def _warn_of_threads(self) -> None:
        """Not an error: it is the user's machine. But such a training is several times slower than it could be."""
        threads, processes = torch.get_num_threads(), local_world_size()
        fair = fair_threads(threads, processes)
        if self.device.type == "cpu" and fair is not None:
            each = f" for each of {processes} processes" if processes > 1 else ""
            self.reporter.warning(
                f"{threads} threads{each}, but only {num_cores()} cores, so that threads wait for each other: "
                f"export OMP_NUM_THREADS={fair}"
            )

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
            "window": self.window.state(),
            "optimizer": optimizer_state,
        }
        best_steps = [s for s, _ in self.best[: self.settings.keep_best]]
        self.saver.begin(Snapshot(step, weights, training, state, best_steps, self.stepper.sharded_tensors()))
        self.saved_step = step

    def _tell_of_saved(self) -> None:
        for written in self.saver.newly_written():
            self.reporter.saved(written.step, written.path)

    def _load_last(self) -> None:
        if self.mesh.is_main:
            remove_unfinished(self.run_files.checkpoints)
        last = last_checkpoint(self.run_files)
        if last is None:
            return
        weights, training, state = load_training(last.path, self.mesh, self.stepper.sharded_tensors())
        self.stepper.load(weights, training, state.step, state.optimizer, last.path)
        self.position = Position(*state.position)
        if state.metric == self.settings.validation.metric:  # values of another one cannot be compared
            self.best = list(state.best)
            self.validations_without_progress = state.validations_without_progress
        self.steps_not_finite = state.steps_not_finite
        self.num_skipped_steps = state.num_skipped_steps
        self.num_out_of_memory_steps = state.num_out_of_memory_steps
        self.window_state = state.window


# ------------------------------------------------------------------------------------------------- helpers


def batch_stream(recipe: Recipe, prepared: Prepared, vocabulary: Vocabulary) -> BatchStream | RunningTextStream:
    """The recipe's endless batches: sentences of similar length, or running text."""
    settings = recipe.training
    if settings.bptt_steps:
        return RunningTextStream(prepared.train, batch_tokens=settings.batch_tokens, bptt_steps=settings.bptt_steps)
    samples = settings.subword_sampling is not None and isinstance(vocabulary, SubwordModel)
    return BatchStream(
        prepared.train,
        batch_tokens=settings.batch_tokens,
        max_tokens_per_sentence=settings.max_tokens_per_sentence,
        seed=recipe.seed,
        subword_sampling=settings.subword_sampling,
        subword_model=vocabulary if samples else None,  # type: ignore[arg-type]
    )


def _is_better(metric: str, value: float, best: float) -> bool:
    return value > best if metric == "bleu" else value < best
