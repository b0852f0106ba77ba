"""Training: from a prepared corpus and a recipe to a run directory.

Exactness: everything random in a step is a function of (seed, step, batch of the step, sentence, position), and the
data position is part of every checkpoint. So a run that is stopped at any step and resumed has the same parameters, to
the bit, as one that never stopped (same machine, same number of threads and processes); with another number of
processes the same but for rounding.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from mtmoe.checkpoint import (
    RunFiles,
    TrainingState,
    WindowState,
    check_file,
    last_checkpoint,
    list_steps,
    load_run_recipe,
    locked_run,
    open_run,
    read_own_weights,
)
from mtmoe.config import Recipe
from mtmoe.data.augmentation.augmenter import augmenter_of
from mtmoe.data.batches.mixture import Mixture
from mtmoe.data.batches.running_text import RunningTextStream
from mtmoe.data.batches.token_batches import Batch, BatchStream, Position
from mtmoe.data.prepared.preparation import Prepared, open_prepared
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.data.subwords.vocabularies import Vocabulary, load_vocabulary
from mtmoe.device import select_cuda_device
from mtmoe.distributed.mesh import ONE_PROCESS, Mesh, device_of_process, joined_processes
from mtmoe.errors import UserError
from mtmoe.system.cpu_cores import fair_threads, num_cores
from mtmoe.system.torchrun import local_world_size
from mtmoe.training.early_stopping import ValidationHistory
from mtmoe.training.gradient_accumulation import next_step_batches
from mtmoe.training.interruption import StopSignals
from mtmoe.training.losses.guided_alignment import guiding_table
from mtmoe.training.metrics.metrics_log import MetricsLog
from mtmoe.training.metrics.metrics_window import MetricsWindow
from mtmoe.training.metrics.records import (
    InterpolationMetrics,
    InterpolationTrial,
    RunSummary,
    TrainingMetrics,
    ValidationMetrics,
)
from mtmoe.training.metrics.training_flops import training_operations
from mtmoe.training.optimizers.learning_rate import learning_rate
from mtmoe.training.reporting import Reporter, SilentReporter
from mtmoe.training.resume import ResumePoint, must_resume, read_last_checkpoint
from mtmoe.training.run_setup import open_or_create_run
from mtmoe.training.saving import Saver, Snapshot
from mtmoe.training.start.interpolation import WeightsBetween, find_share, trial_of
from mtmoe.training.start.starting_weights import starting_weights
from mtmoe.training.step import StepOutcome, Stepper, StepResult
from mtmoe.training.teachers.teacher_runs import load_teachers
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
    recipe = recipe.model_copy(update={"data": prepared.data_settings_for(recipe)})
    with joined_processes(recipe, device, reporter.warning) as mesh, contextlib.ExitStack() as until_the_end:
        if mesh.is_main:
            until_the_end.enter_context(locked_run(run_dir))
            run = open_or_create_run(recipe, run_dir, prepared, resume or must_resume(run_dir), device, reporter)
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
        """Go on from the run's last checkpoint, if it has one.

        Of several processes all do the same, but the main one alone logs and reports.
        """
        self.recipe, self.settings, self.run_files = recipe, recipe.training, run
        self.prepared, self.device, self.reporter, self.mesh = prepared, device, reporter, mesh
        self.vocabulary = load_vocabulary(check_file(run, run.subwords))
        self.stepper = Stepper(
            recipe,
            self.vocabulary.size,
            device,
            mesh,
            load_teachers(recipe, run, device),
            guiding_table(recipe, prepared, self.vocabulary.size),
        )
        self.stream = batch_stream(recipe, prepared, self.vocabulary)
        self.validator = validator_of(recipe, prepared, self.vocabulary, device, mesh)
        teachers = self.stepper.teachers
        shapes = [network.settings for network in teachers.networks] if teachers is not None else []
        self.operations = training_operations(recipe, self.vocabulary.size, shapes)
        self.position = Position(0, 0)
        self.validations = ValidationHistory(self.settings.validation)
        self.trained_share: float | None = None  # of weights that are interpolated, at the end
        self.steps_not_finite = 0
        self.num_skipped_steps = 0
        self.num_out_of_memory_steps = 0
        self.window = MetricsWindow(self.settings, mesh)
        self.window_state: WindowState | None = None  # of a run that goes on
        if (point := read_last_checkpoint(run, mesh, self.stepper.sharded_tensors())) is not None:
            self._load(point)
        elif self.settings.start is not None:
            self.stepper.begin_with(starting_weights(recipe, run, self.vocabulary))
        self.begins_with_a_start = point is None and self.settings.start is not None
        self.saved_step = None if self.begins_with_a_start else self.stepper.step
        self.save_is_due = False  # a step that changes nothing puts a save off to the next that does
        self.saver = Saver(run, recipe, mesh)
        self.stepper.before_update = self.saver.wait_until_copied
        self.log = MetricsLog(run, recipe, self.stepper.step, reporter.warning) if mesh.is_main else None
        reporter.started(self._summary(prepared))
        self._warn_of_threads()

    # ------------------------------------------------------------------------------------------- the loop

    def run(self, signals: StopSignals) -> Finished:
        """Train until all steps are done, early stopping, or a signal.

        A checkpoint of the last step is left behind, whatever ends the training but a crash.
        """
        batches = self._batches()
        self.window.restart()  # its clock, that is
        if self.window_state is not None:
            self.window.load_state(self.window_state)
        if self.stepper.step >= self.settings.max_steps:
            self.reporter.warning(
                f"step {self.stepper.step} of {self.settings.max_steps} is reached already: nothing to do "
                "(training.max_steps counts from the first step)"
            )
        first, received, reason = self.stepper.step + 1, 0, self._reason_to_stop()
        try:
            if self.begins_with_a_start:
                self._keep_beginning()
            while not reason:
                self.mesh.collective_log.at(self.stepper.step + 1, "reading a batch")
                group, self.position = next_step_batches(batches, self.settings.gradient_accumulation)
                self._take_in(self.stepper(group, self.window.expert_usage), first)
                received = self.mesh.largest(signals.received, "signals")
                reason = "signal" if received else self._reason_to_stop()
            self._save()
            self.saver.finish()
        except BaseException:
            self.saver.give_up()
            raise
        self._report_saved()
        if self.log is not None:
            self.log.close()
        self.reporter.finished(reason)
        return Finished(reason, self.stepper.step, received)

    def _batches(self) -> Iterator[tuple[Batch, Position]]:
        """Return the batches from where the training is."""
        if isinstance(self.stream, RunningTextStream):
            return self.stream.batches(self.position)
        num_read = self.stepper.step * self.settings.gradient_accumulation
        return self.stream.batches(self.position, num_read=num_read)

    def _keep_beginning(self) -> None:
        """Measure and save the weights of the start run as step 0: what training changes is told by comparison with
        it, a resume needs the start run no more, and where training only harms, it stays the best checkpoint."""
        with self.window.paused():
            self._validate()
            self._save()

    def _reason_to_stop(self) -> str:
        """Return why training is over, or ""."""
        if self.validations.must_stop():
            return "early_stopping"
        return "max_steps" if self.stepper.step >= self.settings.max_steps else ""

    def _take_in(self, result: StepResult, first: int) -> None:
        """Log, validate and save what is due after a step; ``first`` is the first step of this process."""
        step, settings = self.stepper.step, self.settings
        self.window.add(result)
        if result.outcome in (StepOutcome.SKIPPED, StepOutcome.OUT_OF_MEMORY):
            self._skipped(result)
        elif result.applied:
            self.steps_not_finite = 0
        self.reporter.advanced(step)
        self._report_saved()
        if step == first:
            self.saver.reserve(*self.stepper.tensors()[:2])  # all moments are there now
        if step % settings.log_every_steps == 0:
            self._log()
        if step % settings.validation.every_steps == 0 or step == settings.max_steps:
            with self.window.paused():
                self._validate()
        self.save_is_due = self.save_is_due or step % settings.save_every_steps == 0
        if self.save_is_due and result.applied:
            self.save_is_due = False
            with self.window.paused():
                self._save()

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

    # --------------------------------------------------------------------------------------- what is told

    def _log(self) -> None:
        step, window = self.stepper.step, self.window
        layers = window.expert_usage.metrics()
        rates = window.metrics(self.settings.max_steps - step)
        target_rate = rates.target_tokens_per_second
        source_rate = rates.source_and_target_tokens_per_second - target_rate
        metrics = TrainingMetrics(
            **vars(rates),
            step=step,
            max_steps=self.settings.max_steps,
            epoch=self.position.epoch,
            tflops_per_device=self.operations.flops(source_rate, target_rate) / self.mesh.size / 1e12,
            learning_rate=learning_rate(self.settings, step),
            skipped_steps=self.num_skipped_steps,
            out_of_memory_steps=self.num_out_of_memory_steps,
            layers=layers,
        )
        self._write(metrics)
        self.reporter.step(metrics)
        window.restart()

    def _write(self, metrics: TrainingMetrics | ValidationMetrics) -> None:
        """Append a line to the log, and tell of the alarms that it gives."""
        if self.log is None:
            return
        for alarm in self.log.write(metrics):
            self.reporter.warning(f"step {alarm.step}: {alarm.text}")

    def _validate(self) -> None:
        """Measure on the dev sets, at the end of training weights between the first and the last ones, too; save what
        is among the best."""
        self._measure(self.validations.add)
        self.trained_share = self._interpolated_share() if self._reason_to_stop() else None
        # One of the best checkpoints has to exist to be kept.
        if self.trained_share or self.stepper.step in self.validations.best_steps(self.settings.keep_best):
            self._save()

    def _measure(self, take_in: Callable[[int, float], None]) -> None:
        """Measure and tell the quality of the inference model; ``take_in`` is given the step and its value."""
        settings, step = self.settings.validation, self.stepper.step
        began = time.monotonic()
        self.mesh.collective_log.at(step, "measuring on the dev set", is_long=True)
        quality = self.validator(self.stepper.inference_model)
        take_in(step, self.mesh.value_of_main(quality.value(settings.metric), "the dev set's result"))
        self.mesh.agree_on_number()
        best_step, best_value = self.validations.best[0]
        metrics = ValidationMetrics(
            step=step,
            epoch=self.position.epoch,
            quality=quality,
            metric=settings.metric,
            best_step=best_step,
            best_value=best_value,
            seconds=round(time.monotonic() - began, 2),
        )
        self._write(metrics)
        self.reporter.validated(metrics)

    def _interpolated_share(self) -> float | None:
        """Find the weights between those of step 0 and the trained ones that are kept, and measure them; return how
        near they are to the trained ones, or None where these stay."""
        wanted = self.settings.start.interpolation if self.settings.start is not None else None
        if wanted is None:
            return None
        step, began, model = self.stepper.step, time.monotonic(), self.stepper.inference_model
        self.saver.finish()  # the model changes for a while, and step 0 has to be there
        first = list_steps(self.run_files)[0]
        if first.step > 0:
            self.reporter.warning(f"{first.path.parent}: step 0 is not there any more: nothing is interpolated")
            return None
        between = WeightsBetween(model, read_own_weights(first.path, self.mesh, self.stepper.sharded_tensors()))
        validator = validator_of(
            _translating(self.recipe, wanted.translate_sentences),
            self.prepared,
            self.vocabulary,
            self.device,
            self.mesh,
        )

        def measured(share: float) -> InterpolationTrial:
            between.put(share)
            self.mesh.collective_log.at(step, "measuring weights between those of step 0 and the last", is_long=True)
            trial = trial_of(share, validator(model))
            new, old = (self.mesh.value_of_main(bleu, "BLEU of a trial") for bleu in (trial.new_bleu, trial.old_bleu))
            self.mesh.agree_on_number()
            return trial._replace(new_bleu=new, old_bleu=old)

        trials, chosen = find_share(measured, wanted.most_lost_bleu)
        share = chosen.share if chosen is not None else None
        metrics = InterpolationMetrics(
            step=step,
            trained_share=share,
            most_lost_bleu=wanted.most_lost_bleu,
            trials=trials,
            seconds=round(time.monotonic() - began, 2),
        )
        if self.log is not None:
            self.log.write(metrics)
        self.reporter.interpolated(metrics)
        if share is not None and share < 1:
            between.put(share)
            self._measure(self.validations.replace)
            self.stepper.interpolated = between.at(share)
        between.put(1)
        return share

    def _summary(self, prepared: Prepared) -> RunSummary:
        return RunSummary(
            step=self.stepper.step,
            max_steps=self.settings.max_steps,
            task=self.recipe.task,
            num_parameters=self.stepper.num_parameters,
            num_train_pairs=len(prepared.train),
            num_left_out_pairs=self.stream.num_left_out,
            num_valid_pairs=len(prepared.valid),
            device=str(self.device),
            num_threads=torch.get_num_threads(),
            num_processes=self.mesh.size,
            expert_processes=self.mesh.expert_size,
            precision=self.stepper.precision,
        )

    def _warn_of_threads(self) -> None:
        """Warn of more threads than cores: such a training is several times slower than it could be.

        It is no error, for it is the user's machine.
        """
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
        if not self.stepper.num_updates and not (self.begins_with_a_start and step == 0):
            return  # nothing has been learned yet; a resume begins anew and comes to the same
        if self.saved_step == step:
            return
        weights, training, optimizer_state = self.stepper.tensors()
        state = TrainingState(
            step=step,
            position=(self.position.epoch, self.position.batch),
            metric=self.settings.validation.metric,
            best=tuple(self.validations.best),
            validations_without_progress=self.validations.validations_without_progress,
            steps_not_finite=self.steps_not_finite,
            num_skipped_steps=self.num_skipped_steps,
            num_out_of_memory_steps=self.num_out_of_memory_steps,
            window=self.window.state(),
            optimizer=optimizer_state,
            trained_share=self.trained_share,
        )
        best_steps = self.validations.best_steps(self.settings.keep_best)
        if self.settings.start is not None and self.settings.start.interpolation is not None:
            best_steps.append(0)  # one end of the line
        self.saver.begin(Snapshot(weights, training, state, best_steps, self.stepper.sharded_tensors()))
        self.saved_step = step

    def _report_saved(self) -> None:
        for written in self.saver.newly_written():
            self.reporter.saved(written.step, written.path)

    def _load(self, point: ResumePoint) -> None:
        """Go on from a checkpoint."""
        state = point.state
        self.stepper.load(point.weights, point.training, state.step, state.optimizer, point.checkpoint.path)
        self.position = Position(*state.position)
        self.validations.load_state(state.metric, state.best, state.validations_without_progress)
        self.steps_not_finite = state.steps_not_finite
        self.num_skipped_steps = state.num_skipped_steps
        self.num_out_of_memory_steps = state.num_out_of_memory_steps
        self.window_state = state.window


# ------------------------------------------------------------------------------------------------- helpers


def _translating(recipe: Recipe, num_sentences: int) -> Recipe:
    """Return the recipe with so many dev sentences that are translated, with the beam of `mtmoe translate`."""
    changes = {"translate_sentences": num_sentences, "beam_size": recipe.decoding.beam_size}
    validation = recipe.training.validation.model_copy(update=changes)
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"validation": validation})})


def batch_stream(recipe: Recipe, prepared: Prepared, vocabulary: Vocabulary) -> BatchStream | RunningTextStream:
    """Return the recipe's endless batches: sentences of similar length, or running text."""
    settings = recipe.training
    if settings.bptt_steps:
        return RunningTextStream(
            prepared.train,
            batch_tokens=settings.batch_tokens,
            bptt_steps=settings.bptt_steps,
            spread_tokens=settings.bptt_spread_tokens,
            seed=recipe.seed,
        )
    samples = settings.subword_sampling is not None and isinstance(vocabulary, SubwordModel)
    return BatchStream(
        prepared.train,
        batch_tokens=settings.batch_tokens,
        max_tokens_per_sentence=settings.max_tokens_per_sentence,
        seed=recipe.seed,
        subword_sampling=settings.subword_sampling,
        subword_model=vocabulary if samples else None,  # type: ignore[arg-type]
        augmenter=augmenter_of(recipe, prepared, vocabulary),
        mixture=Mixture(prepared.train.parts, settings.curriculum, batches_per_step=settings.gradient_accumulation),
    )
