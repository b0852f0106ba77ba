"""Benchmark of training memory behind ``mtmoe bench memory``: a measured step beside the prediction of `mtmoe plan`.

Every measurement runs in a process of its own. On a CPU it is the growth of the process's largest resident size since
a tiny model of the same kind has taken a step; libraries, threads and compiled code are there then. On a GPU it is the
most that tensors took.
"""

from __future__ import annotations

import gc
import multiprocessing
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mtmoe.benchmark.machine import hardware_name
from mtmoe.config import Recipe
from mtmoe.data.batches.padding import Batch
from mtmoe.data.prepared.translation_table import NO_TRANSLATIONS
from mtmoe.device import select_cuda_device
from mtmoe.errors import UserError
from mtmoe.planning.gpu_memory import Peak, peak_of
from mtmoe.planning.stages import stages_of
from mtmoe.planning.workload import Layout, Workload
from mtmoe.precision import DTYPES
from mtmoe.system.process_settings import prepare_for_training
from mtmoe.training.metrics.expert_usage import ExpertUsage
from mtmoe.training.step import Stepper

_STEPS = 4  # moments come with the first one; from then on steps are alike


class TrainingMemory(NamedTuple):
    """Measured and planned bytes. moment: when the plan expects the most. ratio: planned over measured."""

    recipe: str
    hardware: str
    precision: str
    num_parameters: int
    rows: int
    length: int
    measured_bytes: int
    planned_bytes: int
    ratio: float
    moment: str


def measure_memory(
    recipe: Recipe, *, rows: int, length: int, vocabulary_size: int = 0, device: str = "cpu"
) -> TrainingMemory:
    """Measure training steps in a new process, and plan them.

    The batches are made up: ``rows`` sentences of ``length`` tokens on each side.

    Raises:
        UserError: the recipe has teachers, who can read no made-up words.
    """
    if recipe.training.distillation is not None:
        raise UserError(
            "training.distillation.teachers cannot read the made-up text of this measurement",
            fix="add --set training.distillation=false; each teacher's weights come on top",
        )
    vocabulary_size = vocabulary_size or recipe.subwords.vocabulary_size
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return pool.apply(_measured, (recipe, rows, length, vocabulary_size, device))


def _measured(recipe: Recipe, rows: int, length: int, vocabulary_size: int, device_name: str) -> TrainingMemory:
    """Measure in this process: steps of a tiny model first, then those of the recipe's."""
    device = torch.device(device_name)
    prepare_for_training(device)
    select_cuda_device(device)
    _take_steps(_tiny_recipe(recipe), 2, 5, 64, device, 1)
    gc.collect()
    before = _current_bytes(device)
    stepper = _take_steps(recipe, rows, length, vocabulary_size, device, _STEPS)
    measured = _most_bytes(device) - before
    peak = planned_peak(recipe, rows, length, vocabulary_size, stepper.precision, on_cpu=device.type == "cpu")
    return TrainingMemory(
        recipe.name, hardware_name(device), stepper.precision, stepper.num_parameters, rows, length, measured,
        int(peak.total), peak.total / measured, peak.moment,
    )  # fmt: skip


def planned_peak(
    recipe: Recipe, rows: int, length: int, vocabulary_size: int, precision: str, *, on_cpu: bool
) -> Peak:  # fmt: skip
    """Return what the plan predicts for one process with such batches."""
    source = 0 if recipe.task == "language-model" else length
    rows *= recipe.training.num_readings
    work = Workload(rows, source, length, rows * source, rows * length)
    layout = Layout(1, 1, recipe.model.moe.num_experts, DTYPES[precision].itemsize, on_cpu)
    return peak_of(stages_of(recipe, vocabulary_size), recipe, vocabulary_size, work, layout)


def _tiny_recipe(recipe: Recipe) -> Recipe:
    """Return a recipe of the same network with hardly any weights."""
    model = recipe.model
    moe = model.moe.model_copy(update={"expert_hidden": 16})
    sizes: dict[str, Any] = {"width": 16, "lstm_hidden": 32 if model.lstm_hidden else 0, "attention_width": 0}
    return recipe.model_copy(update={"model": model.model_copy(update={**sizes, "moe": moe})})


def _take_steps(
    recipe: Recipe, rows: int, length: int, vocabulary_size: int, device: torch.device, num_steps: int
) -> Stepper:
    """Take training steps on made-up batches; return the stepper, which keeps its memory alive."""
    table = NO_TRANSLATIONS if recipe.training.guided_alignment is not None else None
    stepper = Stepper(recipe, vocabulary_size, device, translation_table=table)
    generator = torch.Generator().manual_seed(1)
    source = 0 if recipe.task == "language-model" else length
    for _ in range(num_steps):
        group = []
        for _ in range(recipe.training.gradient_accumulation):
            ids = [torch.randint(4, vocabulary_size, (rows, n), generator=generator) for n in (source, length + 1)]
            lengths = [torch.full((rows,), n) for n in (source, length)]
            group.append(Batch(ids[0], lengths[0], ids[1], lengths[1]))
        stepper(group, ExpertUsage())
    return stepper


def _current_bytes(device: torch.device) -> int:
    """Return the bytes in use now, and on a GPU begin to look for a new peak."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    return _process_status_bytes("VmRSS")


def _most_bytes(device: torch.device) -> int:
    """Return the bytes in use at the peak."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _process_status_bytes("VmHWM")


def _process_status_bytes(key: str) -> int:
    """Return a size in bytes from what Linux says of this process."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))
