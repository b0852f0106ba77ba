"""Benchmark of training speed behind ``mtmoe bench train``: tokens per second, beside the machine's own rate."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import torch

from mtmoe.benchmark.machine import hardware_name, measure_gemm
from mtmoe.config import Recipe
from mtmoe.data.prepared.data_directory import Prepared, open_prepared
from mtmoe.data.subwords.vocabularies import load_vocabulary
from mtmoe.device import select_cuda_device
from mtmoe.distributed.mesh import Mesh, device_of_process, joined_processes
from mtmoe.precision import DTYPES
from mtmoe.progress import Progress, silent
from mtmoe.training.losses.guided_alignment import guiding_table
from mtmoe.training.metrics.metrics_window import MetricsWindow
from mtmoe.training.metrics.training_flops import training_operations
from mtmoe.training.step import Stepper
from mtmoe.training.teachers.teacher_runs import new_teachers
from mtmoe.training.trainer import batch_stream

_WARMUP_STEPS = 10


class TrainingSpeed(NamedTuple):
    """Measured speed of training. Tokens include the end of sentence and exclude padding.

    hardware and num_threads: of one process. Everything else is of all processes together.
    expert_processes: processes that the experts are divided among.
    gemm_gflops: rate of the processes for large square products in the recipe's precision, measured before.
    model_gflops: operations of the model's matrices that the step needs, per second: multiply-adds x 2, x 3 with the
    backward pass; padding and element-wise work do not count.
    gemm_share: model_gflops over gemm_gflops.
    """

    recipe: str
    hardware: str
    num_threads: int
    num_processes: int
    expert_processes: int
    precision: str
    num_parameters: int
    num_steps: int
    seconds: float
    target_tokens_per_step: float
    target_tokens_per_second: float
    source_and_target_tokens_per_second: float
    padding: float
    model_gflops: float
    gemm_gflops: float
    gemm_share: float


def run_benchmark(
    recipe: Recipe, data_dir: Path, *, device: torch.device, seconds: float = 60.0, progress: Progress = silent
) -> TrainingSpeed:
    """Train on real batches for ``seconds`` after a warm-up, without validation and checkpoints.

    All processes that torchrun has started take part: ``training.batch_tokens`` is the batch of all of them.

    Raises:
        UserError: the data directory does not fit the recipe, or the recipe the number of processes.
    """
    device = device_of_process(device)
    select_cuda_device(device)
    prepared = open_prepared(data_dir)
    prepared.check_suits(recipe)
    with joined_processes(recipe, device) as mesh:
        return _measured(recipe, prepared, device, mesh, seconds, progress)


def _measured(
    recipe: Recipe, prepared: Prepared, device: torch.device, mesh: Mesh, seconds: float, progress: Progress
) -> TrainingSpeed:
    """Measure in the processes of ``mesh``, which all call this together."""
    subwords = load_vocabulary(prepared.subwords_path)
    teachers = new_teachers(recipe, prepared.subwords_path, device)
    stepper = Stepper(recipe, subwords.size, device, mesh, teachers, guiding_table(recipe, prepared, subwords.size))
    mesh.wait_for_all()  # so that all measure at the same time
    own_gflops = torch.tensor(measure_gemm(DTYPES[stepper.precision], device), device=device)
    gemm_gflops = float(mesh.add_up(own_gflops, "rates of products"))
    batches = batch_stream(recipe, prepared, subwords).batches()
    window = MetricsWindow(recipe.training, mesh)
    elapsed = 0.0
    while elapsed < seconds:
        if stepper.step == _WARMUP_STEPS:
            window.restart()
        mesh.collective_log.at(stepper.step + 1, "reading a batch")
        group = [next(batches)[0].to(device) for _ in range(recipe.training.gradient_accumulation)]
        window.add(stepper(group, window.expert_usage))
        if stepper.step > _WARMUP_STEPS:
            elapsed = mesh.value_of_main(time.monotonic() - window.began, "the time")
        progress("measure", min(int(elapsed), int(seconds)), int(seconds), "seconds")
    metrics = window.metrics(0)
    shapes = [network.settings for network in teachers.networks] if teachers is not None else []
    operations = training_operations(recipe, subwords.size, shapes)
    model_gflops = operations.flops(window.num_source_tokens, window.num_target_tokens) / elapsed / 1e9
    return TrainingSpeed(
        recipe=recipe.name,
        hardware=hardware_name(device),
        num_threads=torch.get_num_threads(),
        num_processes=mesh.size,
        expert_processes=mesh.expert_size,
        precision=stepper.precision,
        num_parameters=stepper.num_parameters,
        num_steps=window.num_steps,
        seconds=elapsed,
        target_tokens_per_step=window.num_target_tokens / window.num_steps,
        target_tokens_per_second=metrics.target_tokens_per_second,
        source_and_target_tokens_per_second=metrics.source_and_target_tokens_per_second,
        padding=metrics.padding_share,
        model_gflops=model_gflops,
        gemm_gflops=gemm_gflops,
        gemm_share=model_gflops / gemm_gflops,
    )
