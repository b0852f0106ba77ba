"""Optimizer step of training: forward, backward and update, on any number of processes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mtmoe.checkpoint import (
    OptimizerState,
    load_weights,
)
from mtmoe.config import Recipe
from mtmoe.config.settings import Training
from mtmoe.data.batches.token_batches import Batch
from mtmoe.data.prepared.translation_table import TranslationTable
from mtmoe.distributed.batch_sharding import of_all_sentences, own_sentences
from mtmoe.distributed.data_parallel import GradientSums
from mtmoe.distributed.expert_parallel import ExpertParallelism
from mtmoe.distributed.mesh import ONE_PROCESS, Mesh
from mtmoe.model.building import Network, build_model, meta_model
from mtmoe.model.language_model import LanguageModel, LanguageModelState
from mtmoe.model.moe.routing import Balance
from mtmoe.model.ops.keyed_noise import new_side_noise
from mtmoe.model.parameter_roles import parameter_roles
from mtmoe.model.translation import Output
from mtmoe.precision import DTYPES, autocast, choose_precision
from mtmoe.training.choice_balancing import ChoiceBalancing
from mtmoe.training.gradient_accumulation import StepSize
from mtmoe.training.loss_scaling import LossScaler
from mtmoe.training.losses.activation_penalties import activation_penalty_sum
from mtmoe.training.losses.guided_alignment import SubwordAligner, guided_alignment_loss
from mtmoe.training.losses.output_loss import output_loss
from mtmoe.training.metrics.expert_usage import ExpertUsage
from mtmoe.training.optimizers.adam import Adam, moment_names
from mtmoe.training.optimizers.ema import ExponentialMovingAverage
from mtmoe.training.optimizers.gradient_clipping import clip_gradients
from mtmoe.training.optimizers.learning_rate import learning_rate
from mtmoe.training.optimizers.stochastic_rounding import keep_experts_in_bf16
from mtmoe.training.start.frozen_layers import freeze, frozen_parameters
from mtmoe.training.teachers.teachers import Teachers

_RAW_WEIGHTS = "weights."  # in the names of weights beside their average
_NOT_INTERPOLATED = "trained."  # in the names of weights beside interpolated ones
_SECOND_READING = 1 << 32  # added to the number of a sentence: more than any batch has


class StepOutcome(Enum):
    """APPLIED: the weights were updated. SKIPPED: loss or gradient were not finite. SCALING: the same, while fp16
    looks for its loss scale. OUT_OF_MEMORY: a process had too little for the forward and backward pass."""

    APPLIED = "applied"
    SKIPPED = "skipped"
    SCALING = "scaling"
    OUT_OF_MEMORY = "out of memory"


class StepResult(NamedTuple):
    """What one optimizer step did, on all processes.

    loss_sum: over its target tokens, in nats, without label smoothing. teacher_sum, consistency_sum and alignment_sum:
    likewise, of the divergences from the teachers and between two readings, and of guided alignment, without their
    weights. auxiliary_loss: weighted, the mean over its batches. gradient_norm: before clipping. broken_layer: the
    first MoE layer whose gates were not finite in a skipped step, or "". out_of_memory: ranks of the processes that had
    too little memory.
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
    teacher_sum: float = 0.0
    consistency_sum: float = 0.0
    alignment_sum: float = 0.0

    @property
    def applied(self) -> bool:
        """Whether the weights were updated."""
        return self.outcome is StepOutcome.APPLIED


class _Passed(NamedTuple):
    """What a process knows of its part of a batch. sums: of the loss, of the divergences from the teachers and between
    two readings, and of guided alignment, in nats, of its tokens; auxiliary_loss: weighted."""

    sums: tuple[float, float, float, float]
    auxiliary_loss: float
    balances: Mapping[str, Balance]


class Stepper:
    """The model, its optimizer and EMA: one call is one optimizer step.

    carried: the LSTMs' state of this process's rows after the last batch, where a language model reads running text;
    None is zeros. teachers: those that the recipe names. aligner: of guided alignment, if the recipe asks for it.
    before_update: called before a step changes weights, moments or the EMA. interpolated: weights to save in place of
    those of the inference model, until the next step.
    """

    def __init__(
        self,
        recipe: Recipe,
        vocabulary_size: int,
        device: torch.device,
        mesh: Mesh = ONE_PROCESS,
        teachers: Teachers | None = None,
        translation_table: TranslationTable | None = None,
    ) -> None:
        if (teachers is None) != (recipe.training.distillation is None):
            raise ValueError("a recipe with training.distillation is trained with its teachers, and no other is")
        if (translation_table is None) != (recipe.training.guided_alignment is None):
            raise ValueError(
                "a recipe with training.guided_alignment is trained with a translation table, and no other"
            )
        self.teachers = teachers
        self.aligner = translation_table and SubwordAligner(translation_table, vocabulary_size, device)
        self.recipe, self.settings, self.device, self.mesh = recipe, recipe.training, device, mesh
        self.precision = choose_precision(device, self.settings.precision)
        torch.manual_seed(_mixed_seed(recipe.seed, 0, 0))
        parallelism, self.noise = ExpertParallelism(mesh), new_side_noise()
        self.model = build_model(recipe, vocabulary_size, parallelism=parallelism, noise=self.noise).train()
        state = self.model.state_dict()
        roles, self._whole_sizes = parameter_roles(self.model), _whole_sizes(recipe, vocabulary_size)
        self.num_parameters = sum(shape.numel() for shape in self._whole_sizes.values())
        self.model.to(device)
        if self.settings.expert_weights == "bf16":
            keep_experts_in_bf16(self.model)
        trained = freeze(self.model, self.settings.start)
        self.choice_balancing = ChoiceBalancing(self.model, frozen_parameters(self.model, self.settings.start), mesh)
        self.optimizer = Adam(trained, self.settings, mesh, roles=roles, seed=recipe.seed)
        self.gradient_sums = GradientSums(self.optimizer.parameters, roles.sharded, mesh)
        self.ema: ExponentialMovingAverage | None = None
        if self.settings.ema is not None:
            averaged = build_model(recipe, vocabulary_size, parallelism=parallelism).eval()
            averaged.load_state_dict(state)
            self.ema = ExponentialMovingAverage(averaged.to(device), self.settings.ema)
        self.loss_scaler = LossScaler(device, self.precision, mesh)
        self.step = 0
        self.num_updates = 0
        self.carried: LanguageModelState | None = None
        self.before_update: Callable[[], None] = lambda: None
        self.interpolated: Mapping[str, Tensor] | None = None

    @property
    def inference_model(self) -> Network:
        """The EMA of the weights where there is one, else the model that is trained."""
        return self.ema.averaged if self.ema is not None else self.model  # type: ignore[return-value]

    def __call__(self, batches: Sequence[Batch], expert_usage: ExpertUsage) -> StepResult:
        """Take one optimizer step: forward, backward and update.

        Args:
            batches: whose gradients make the step; every process takes its sentences of each.
            expert_usage: told of the batches, if the step is applied.
        """
        self.step += 1
        self.interpolated = None
        size = StepSize.of(batches)
        carried = self.carried
        sums, auxiliary_loss = (0.0, 0.0, 0.0, 0.0), 0.0
        balances: list[Mapping[str, Balance]] = []
        out_of_memory = False
        for number, batch in enumerate(batches):
            self.mesh.collective_log.begin_batch()
            if number == len(batches) - 1:
                self.gradient_sums.expect()
            try:
                passed = self._forward_and_backward(*own_sentences(batch, self.mesh), number, size)
            except torch.OutOfMemoryError:
                passed = None  # the exception holds on to the memory of the pass, and must go first
            if passed is None:
                out_of_memory = True
                self._pass_without_rows(batch, number, size)
                continue
            balances.append(passed.balances)
            sums = tuple(map(operator.add, sums, passed.sums))
            auxiliary_loss += passed.auxiliary_loss
        self.gradient_sums.finish()
        (loss_sum, teacher_sum, consistency_sum, alignment_sum), broken = self._totals(sums, out_of_memory)
        counts = size.num_target_tokens, size.num_source_tokens, size.num_padded_tokens
        if broken:
            self.optimizer.zero_grad()
            self.carried = carried  # of before the step, on all processes
            return StepResult(loss_sum, *counts, math.nan, auxiliary_loss, StepOutcome.OUT_OF_MEMORY, "", broken)
        if not math.isfinite(loss_sum):
            self.carried = None  # what is not finite would never go away again
        ratio = _length_ratio(batches, self.settings)
        outcome, norm = self._update(math.isfinite(loss_sum + auxiliary_loss), ratio, balances)
        for balance in balances if outcome is StepOutcome.APPLIED else ():
            expert_usage.add(balance)
        layer = _first_not_finite(balances, self.mesh) if outcome is StepOutcome.SKIPPED else ""
        return StepResult(
            loss_sum, *counts, norm, auxiliary_loss, outcome, layer,
            teacher_sum=teacher_sum, consistency_sum=consistency_sum, alignment_sum=alignment_sum,
        )  # fmt: skip

    def _forward_and_backward(self, own: Batch, sentences_B: Tensor, number: int, size: StepSize) -> _Passed:
        """Compute the gradients of this process's sentences ``sentences_B`` of batch ``number`` of the step."""
        own, sentences_B, dtype = own.to(self.device), sentences_B.to(self.device), DTYPES[self.precision]
        with autocast(self.device, self.precision):
            taught = self.teachers.read(own, dtype) if self.teachers is not None else None
            read = self._with_noise(own, sentences_B, number)
            runs_on = isinstance(self.model, LanguageModel) and self.settings.bptt_steps > 0
            options = {"with_attention": True} if self.aligner is not None else {}
            output: Output = self._continued(read) if runs_on else self.model(read, **options)
        mixture = self.model.softmax_mixture if isinstance(self.model, LanguageModel) else None
        loss = output_loss(
            output.hidden_ND, self.model.output_VD, output.labels_N, self.settings, taught, dtype, mixture
        )
        objective_sum = loss.objective_sum
        if output.top is not None and self.settings.penalises_activations:
            penalty_sum = activation_penalty_sum(output.top, read.target_lengths_B, self.settings)
            objective_sum = objective_sum + penalty_sum / self.settings.num_readings
        auxiliary_loss = _sum_of_auxiliary_losses(output.balances) / size.num_batches
        alignment_sum = torch.zeros_like(loss.plain_sum)
        if self.aligner is not None and self.settings.guided_alignment is not None:
            of_readings = (
                guided_alignment_loss(output.attentions, self.aligner.align(read)) / self.settings.num_readings
            )
            objective_sum = objective_sum + self.settings.guided_alignment.weight * of_readings
            alignment_sum = of_readings.detach().to(alignment_sum.dtype)
        self.loss_scaler.scale(size.objective(objective_sum, auxiliary_loss)).backward()
        plain, teacher, consistency, alignment = torch.stack((*loss[1:], alignment_sum)).tolist()
        return _Passed((plain, teacher, consistency, alignment), float(auxiliary_loss.detach()), output.balances)

    def _continued(self, batch: Batch) -> Output:
        """Compute a language model up to the output layer, on running text from where the last batch ended."""
        assert isinstance(self.model, LanguageModel)
        num_rows, before = batch.target_BT.shape[0], self.carried
        if self.settings.consistency is None:
            output, state = self.model.continued(batch, before)
            self.carried = state.detached()
            return output
        first_B = torch.arange(num_rows // 2, device=self.device)  # where the first reading ends, both go on
        output, state = self.model.continued(batch, before and before.select(first_B.repeat(2)))
        self.carried = state.detached().select(first_B)
        return output

    def _pass_without_rows(self, batch: Batch, number: int, size: StepSize) -> None:
        """Take part in the collectives of the batch that are still to come: the others wait for this process there."""
        if self.mesh.size == 1:
            return
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        none = Batch(*(tensor[:0] for tensor in batch))
        if self.carried is not None:
            self.carried = self.carried.select(torch.zeros(0, dtype=torch.int64, device=self.device))
        with self.mesh.collective_log.without_rows():
            self._forward_and_backward(none, torch.zeros(0, dtype=torch.int64), number, size)
        self.carried = None

    def _totals(self, sums: Sequence[float], out_of_memory: bool) -> tuple[list[float], tuple[int, ...]]:
        """Return the sums of all processes, and the ranks of those that were out of memory: the same on each."""
        told = torch.zeros(len(sums) + self.mesh.size, dtype=torch.float64, device=self.device)
        told[: len(sums)] = torch.tensor(sums, dtype=torch.float64)
        told[len(sums) + self.mesh.rank] = float(out_of_memory)
        totals: list[float] = self.mesh.add_up(told, "the loss").tolist()
        broken = totals[len(sums) :]
        return totals[: len(sums)], tuple(rank for rank, is_broken in enumerate(broken) if is_broken)

    def _with_noise(self, own: Batch, sentences_B: Tensor, number: int) -> Batch:
        """Return the batch as the network reads it, once or twice, and seed the noise of its sentences in batch
        ``number``.

        Two readings are one batch: an LSTM takes as many steps as for one, and gates see all tokens together.
        """
        if self.settings.consistency is not None:
            own = Batch(*(torch.cat((tensor, tensor)) for tensor in own))
            sentences_B = torch.cat((sentences_B, sentences_B + _SECOND_READING))
        seed = _mixed_seed(self.recipe.seed, self.step, number)
        torch.manual_seed(seed)  # of the classes that a sampled softmax draws: the same ones on every process
        self.noise.source.begin(seed, sentences_B, own.source_lengths_B, own.source_BS.shape[1])
        self.noise.target.begin(seed, sentences_B, own.target_lengths_B, own.target_BT.shape[1] - 1)
        return own

    def _update(
        self, loss_is_finite: bool, length_ratio: float, balances: Sequence[Mapping[str, Balance]]
    ) -> tuple[StepOutcome, float]:
        """Clip the gradients and take a step, if all is finite; return the outcome and the norm of the gradients.

        length_ratio: the learning rate of the schedule is multiplied by it. balances: of the batches of the step.
        """
        self.loss_scaler.unscale(self.optimizer)
        norm = float(
            clip_gradients(self.optimizer.parameters, self.settings.clip_norm, self.mesh, self.optimizer.roles.sharded)
        )
        finite = loss_is_finite and math.isfinite(norm)
        if finite:
            self.before_update()
            self.optimizer.set_learning_rate(learning_rate(self.settings, self.step) * length_ratio)
            self.loss_scaler.step(self.optimizer)
            self.choice_balancing.update(balances)
            self.num_updates += 1
            if self.ema is not None:
                self.ema.update(self.model, self.num_updates)
        # With fp16 a gradient that overflows is how the loss scale is found, and no failure while there is scale left.
        searching = loss_is_finite and self.loss_scaler.may_shrink()
        self.loss_scaler.update()
        self.optimizer.zero_grad()
        return StepOutcome.APPLIED if finite else StepOutcome.SCALING if searching else StepOutcome.SKIPPED, norm

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Tensor], OptimizerState]:
        """Return what a checkpoint is made of: weights for inference and what else is needed to go on, by name, and the
        plain numbers of the optimizer."""
        training = dict(self.optimizer.state())
        weights = {name: p.detach() for name, p in self.inference_model.named_parameters()}
        if self.interpolated is not None:
            training |= {f"{_NOT_INTERPOLATED}{name}": tensor for name, tensor in weights.items()}
            weights = dict(self.interpolated)
        if self.ema is not None:
            training |= {f"{_RAW_WEIGHTS}{name}": p.detach() for name, p in self.model.named_parameters()}
        if self.carried is not None:
            carried = self.carried.tensors()
            training |= {f"carried.{name}": of_all_sentences(own_B, self.mesh) for name, own_B in carried.items()}
        return weights, training, OptimizerState(num_updates=self.num_updates, loss_scale=self.loss_scaler.state())

    def sharded_tensors(self) -> dict[str, int]:
        """Return the names that sharded tensors may have in :meth:`tensors`.

        Each has the whole size of its first dimension, along which every process has a share.
        """
        return {
            tensor: self._whole_sizes[name][0]
            for name in self.optimizer.roles.sharded
            for tensor in (name, f"{_RAW_WEIGHTS}{name}", f"{_NOT_INTERPOLATED}{name}", *moment_names(name))
        }

    def begin_with(self, weights_of: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]) -> None:
        """Begin with other weights than those that were drawn; what the function does not return stays as it is.

        Args:
            weights_of: from the parameters as they were drawn to whole ones, by name
                (:func:`mtmoe.training.start.starting_weights.starting_weights`).
        """
        whole = weights_of({name: p.detach() for name, p in self.model.named_parameters()})
        for model in (self.model, self.inference_model):
            for name, parameter in model.named_parameters():
                if name in whole:
                    sharded = name in self.optimizer.roles.sharded
                    own = self.mesh.share_of_experts(len(whole[name])) if sharded else slice(None)
                    parameter.detach().copy_(whole[name][own])

    def load(
        self,
        weights: Mapping[str, Tensor],
        training: Mapping[str, Tensor],
        step: int,
        optimizer_state: OptimizerState,
        where: Path,
    ) -> None:
        """Go on from what :meth:`tensors` returned after ``step``; ``where`` is the checkpoint, for errors."""
        raw = _named(training, _RAW_WEIGHTS)
        weights = _named(training, _NOT_INTERPOLATED) or weights
        load_weights(self.model, raw or weights, where)  # without an average the two are the same
        if self.ema is not None:
            load_weights(self.inference_model, weights, where)
        carried = {
            key.removeprefix("carried."): all_B[self.mesh.rank :: self.mesh.size]
            for key, all_B in training.items()
            if key.startswith("carried.")
        }
        self.carried = LanguageModelState.from_tensors(carried).to(self.device) if carried else None
        self.num_updates = optimizer_state.num_updates
        self.optimizer.load_state(training, self.num_updates, where)
        self.loss_scaler.load_state(optimizer_state.loss_scale)
        self.step = step


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin so, by the rest of these."""
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def _whole_sizes(recipe: Recipe, vocabulary_size: int) -> dict[str, torch.Size]:
    """Return the shapes of all parameters as they are without expert parallelism."""
    return {name: parameter.shape for name, parameter in meta_model(recipe, vocabulary_size).named_parameters()}


def _sum_of_auxiliary_losses(balances: Mapping[str, Balance]) -> Tensor:
    losses = [loss for balance in balances.values() for loss in balance.auxiliary_losses.values()]
    return sum(losses[1:], losses[0]) if losses else torch.zeros(())


def _first_not_finite(batches: Iterable[Mapping[str, Balance]], mesh: Mesh) -> str:
    """Return the first layer, in the order of computation, whose gates are NaN or infinite on any process, or ""."""
    for balances in batches:
        for layer, balance in balances.items():
            importance_E = balance.importance_E.detach().clone()
            if not bool(mesh.add_up(importance_E, f"importance of {layer}").isfinite().all()):
                return layer
    return ""


def _length_ratio(batches: Sequence[Batch], settings: Training) -> float:
    """Return the mean length of batches of running text as a ratio to bptt_steps; 1 where it does not vary."""
    if not settings.bptt_spread_tokens:
        return 1.0
    return sum(batch.target_BT.shape[1] - 1 for batch in batches) / len(batches) / settings.bptt_steps


def _mixed_seed(seed: int, step: int, number: int) -> int:
    """Return one 63-bit seed of three numbers, well mixed."""
    words = np.random.SeedSequence([seed, step, number]).generate_state(2, np.uint32)
    return (int(words[0]) << 32 | int(words[1])) >> 1
