"""What the processes of a group do in the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch

from mtmoe import precision as precision_module
from mtmoe.config import Recipe
from mtmoe.data.batches.token_batches import Batch, batch_of
from mtmoe.data.prepared.translation_table import TranslationTable
from mtmoe.distributed import data_parallel
from mtmoe.distributed.mesh import Mesh, joined_processes
from mtmoe.distributed.sharded_checkpoint import whole_tensor
from mtmoe.model.building import build_model
from mtmoe.training import step as step_module
from mtmoe.training.metrics.expert_usage import ExpertUsage
from mtmoe.training.optimizers.gradient_clipping import clip_gradients
from mtmoe.training.step import Stepper
from mtmoe.training.teachers.teachers import Teachers
from tests.distributed.processes.recipes import RUNNING_ROWS, RUNNING_STEPS

VOCABULARY = 40
CPU = torch.device("cpu")


class Trained(NamedTuple):
    """losses: of each step, with the auxiliary losses, the gradient norm and the divergences. load_shares: of the
    encoder's experts in each step. gradients: of the first step. weights and moments: at the end."""

    losses: list[tuple[float, ...]]
    load_shares: list[list[float]]
    gradients: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]
    moments: dict[str, np.ndarray]


def batches(num_steps: int, per_step: int = 1) -> Iterator[list[Batch]]:
    """Random pairs, 1 to 7 of them a batch: of four processes some have none, and no two as many tokens."""
    generator = np.random.default_rng(5)

    def sentences(count: int) -> list[list[int]]:
        return [generator.integers(5, VOCABULARY, generator.integers(1, 9)).tolist() for _ in range(count)]

    for step in range(num_steps):
        counts = [(7, 2, 5, 1, 6)[(step * per_step + number) % 5] for number in range(per_step)]
        yield [batch_of(sentences(count), sentences(count)) for count in counts]


def running_text(num_steps: int, per_step: int = 1) -> Iterator[list[Batch]]:
    """Rows that run on from batch to batch."""
    num_batches = num_steps * per_step
    shape = (RUNNING_ROWS, num_batches * RUNNING_STEPS + 1)
    text = torch.from_numpy(np.random.default_rng(5).integers(5, VOCABULARY, shape))
    no_source, lengths = torch.zeros(RUNNING_ROWS, 0, dtype=torch.int64), torch.full((RUNNING_ROWS,), RUNNING_STEPS)
    starts = range(0, num_batches * RUNNING_STEPS, RUNNING_STEPS)
    all_batches = [
        Batch(no_source, torch.zeros_like(lengths), text[:, at : at + RUNNING_STEPS + 1], lengths) for at in starts
    ]
    for step in range(num_steps):
        yield all_batches[step * per_step : (step + 1) * per_step]


@contextmanager
def doubles(double: bool) -> Iterator[None]:
    """Everything in float64, of which a recipe knows nothing."""
    before = dict(precision_module.DTYPES)
    torch.set_default_dtype(torch.float64 if double else torch.float32)
    if double:
        precision_module.DTYPES["fp32"] = torch.float64
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        precision_module.DTYPES.update(before)


class Job(NamedTuple):
    """A training of some steps. double: in float64. one_sided: all tokens go to the first two experts, for ever.
    bucket_bytes: of gradients that travel together."""

    recipe: Recipe
    num_steps: int
    double: bool
    one_sided: bool = False
    bucket_bytes: int = data_parallel.BUCKET_BYTES


def train_all(jobs: list[Job]) -> list[Trained]:
    """One after the other, on all processes; everything is put together again."""
    first_port = int(os.environ["MASTER_PORT"])
    results = []
    for number, job in enumerate(jobs):
        os.environ["MASTER_PORT"] = str(first_port + number)
        with joined_processes(job.recipe, CPU) as mesh, doubles(job.double):
            results.append(trained(job, mesh))
    return results


def two_teachers(recipe: Recipe) -> Teachers | None:
    """Two networks with random weights, the second one wider; None for a recipe without teachers."""
    settings = recipe.training.distillation
    if settings is None:
        return None
    torch.manual_seed(11)
    shapes = (recipe.model, recipe.model.model_copy(update={"width": 12}))
    recipes = [recipe.model_copy(update={"model": shape}) for shape in shapes]
    return Teachers([build_model(each, VOCABULARY).eval().requires_grad_(False) for each in recipes], settings)


def a_table() -> TranslationTable:
    """Some probabilities for every pair of ids, and for those that come from nothing."""
    ids = np.arange(VOCABULARY, dtype=np.int32)
    both = np.random.default_rng(3).random((2, VOCABULARY**2)).astype(np.float32)
    return TranslationTable(np.repeat(ids, VOCABULARY), np.tile(ids, VOCABULARY), *both)


def trained(job: Job, mesh: Mesh) -> Trained:
    recipe = job.recipe
    data_parallel.BUCKET_BYTES = job.bucket_bytes
    table = a_table() if recipe.training.guided_alignment is not None else None
    stepper = Stepper(recipe, VOCABULARY, CPU, mesh, two_teachers(recipe), table)
    if job.one_sided:
        choose_the_first_two_experts(stepper)
    losses: list[tuple[float, ...]] = []
    loads: list[list[float]] = []
    gradients: dict[str, np.ndarray] = {}

    def keep_gradients(parameters: Any, *arguments: Any) -> Any:
        if not gradients:
            gradients.update(whole(stepper, {n: p.grad for n, p in parameters.items()}))
        return clip_gradients(parameters, *arguments)

    text = running_text if recipe.training.bptt_steps else batches
    layer = f"{'decoder' if recipe.training.bptt_steps else 'encoder'}.moe1"
    with mock.patch.object(step_module, "clip_gradients", keep_gradients):
        for group in text(job.num_steps, recipe.training.gradient_accumulation):
            use = ExpertUsage(mesh)
            result = stepper(group, use)
            assert result.applied
            divergences = result.teacher_sum, result.consistency_sum, result.alignment_sum
            losses.append((result.loss_sum, result.auxiliary_loss, result.gradient_norm, *divergences))
            loads.append([round(share, 6) for share in use.metrics()[layer].token_share_E])
    weights, training, _ = stepper.tensors()  # all processes have the same of what is carried
    return Trained(losses, loads, gradients, whole(stepper, weights), whole(stepper, training))


def choose_the_first_two_experts(stepper: Stepper) -> None:
    """With k = 1 and logits of x v, -x v, 0, 0, ... the best expert is one of the first two, whatever x is."""
    with torch.no_grad():
        for name, parameter in stepper.model.named_parameters():
            if name.endswith("gate.gate_DE"):
                parameter[:, 1] = -parameter[:, 0]
                parameter[:, 2:] = 0.0


def whole(stepper: Stepper, tensors: dict[str, torch.Tensor | None]) -> dict[str, np.ndarray]:
    result, sharded = {}, stepper.sharded_tensors()
    for name, tensor in tensors.items():
        assert tensor is not None, name
        full = whole_tensor(tensor.detach(), stepper.mesh, sharded.get(name))
        result[name] = (full.full_tensor() if hasattr(full, "full_tensor") else full).clone().numpy()
    return result
