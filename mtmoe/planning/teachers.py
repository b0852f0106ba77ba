"""Teachers in a plan (``training.distillation``): what their forward passes take of a GPU's memory and of the time.

Each process holds all of each teacher, and each reads its part of a batch once, before the student does
(`mtmoe/training/teachers/teachers.py`). There is no backward pass, and nothing of theirs travels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mtmoe.checkpoint import load_run_recipe, open_run
from mtmoe.config import Recipe
from mtmoe.planning.activations import activations_of
from mtmoe.planning.devices import Gpu
from mtmoe.planning.stages import Stage, stages_of
from mtmoe.planning.workload import STREAM_BYTES, Layout, Workload, full_workload
from mtmoe.system.home_directory import expanded
from mtmoe.training.metrics.training_flops import FLOPS_PER_OPERATION

_PASSES = 3
"""Forward and backward pass take three times as long as the forward pass, by FLOPS_PER_OPERATION."""
_READ_AND_WRITTEN = 2


class TeacherShape(NamedTuple):
    """A teacher as a plan knows it. recipe: its own; its weights are where the student's are."""

    recipe: Recipe
    stages: list[Stage]

    @property
    def num_parameters(self) -> int:
        """Return the number of its parameters."""
        return sum(parameter.numel() for stage in self.stages for parameter in stage.parameters.values())

    def layout(self, of_student: Layout) -> Layout:
        """Return how it is divided: not at all."""
        return of_student._replace(expert_processes=1, experts_here=self.recipe.model.moe.num_experts)


class TeacherNeeds(NamedTuple):
    """Bytes of one process for all teachers.

    weights: at all times. kept: what they say of a batch, until its loss is known. passing: while one of them reads.
    """

    weights: float = 0.0
    kept: float = 0.0
    passing: float = 0.0


def teachers_of(recipe: Recipe, vocabulary_size: int) -> tuple[list[TeacherShape], list[str]]:
    """Return the teachers of a recipe, and the names of those that are not there (yet).

    Raises:
        UserError: one that is there is no run.
    """
    settings = recipe.training.distillation
    names = () if settings is None else settings.teachers
    missing = [name for name in names if not expanded(name).exists()]
    recipes = [load_run_recipe(open_run(expanded(name))) for name in names if name not in missing]
    return [TeacherShape(each, stages_of(each, vocabulary_size)) for each in recipes], missing


def work_of_teachers(recipe: Recipe, num_processes: int) -> Workload:
    """Return what a teacher reads on one process: a batch once, also where the student reads it twice."""
    work = full_workload(recipe, num_processes)
    return Workload(
        work.rows / recipe.training.num_readings,
        work.source_length,
        work.target_length,
        work.source_tokens / recipe.training.num_readings,
        work.target_tokens / recipe.training.num_readings,
    )


def teacher_needs(
    teachers: Sequence[TeacherShape], vocabulary_size: int, work: Workload, layout: Layout
) -> TeacherNeeds:
    """Return the memory that teachers take of one process."""
    if not teachers:
        return TeacherNeeds()
    small = layout.element_bytes
    weights = sum(teacher.num_parameters for teacher in teachers) * STREAM_BYTES
    widths = [teacher.recipe.model.width for teacher in teachers]
    # Their outputs, in the precision of products, and where that is narrow, the matrices of their last layers.
    matrices = vocabulary_size * small if small != STREAM_BYTES else 0
    kept = float(sum(width * (work.target_tokens * small + matrices) for width in widths))
    passing = max(_passing(teacher, work, layout) for teacher in teachers)
    return TeacherNeeds(float(weights), kept, passing)


def _passing(teacher: TeacherShape, work: Workload, layout: Layout) -> float:
    """Return the bytes of the largest stage of a teacher, and of the states that its decoder attends to.

    Without gradients what a stage has computed is given back with the next one.
    """
    own = teacher.layout(layout)
    inner = [stage for stage in teacher.stages if stage.kind != "output"]
    needs = [activations_of(stage, teacher.recipe, work, own) for stage in inner]
    memory = work.positions("source") * teacher.recipe.model.width * STREAM_BYTES
    return memory + max(need.kept + need.forward for need in needs)


class TeacherWork(NamedTuple):
    """Operations and bytes of one process for one batch. seconds: the least that they take; is_compute_bound: whether
    it is operations that they wait for, most of the time."""

    seconds: float
    flops: float
    num_bytes: float
    is_compute_bound: bool


def work_of_batch(
    teachers: Sequence[TeacherShape], vocabulary_size: int, work: Workload, layout: Layout, gpu: Gpu, precision: str
) -> TeacherWork:
    """Return what all teachers take of one batch, stage by stage ``max(operations / peak, bytes / bandwidth)``."""
    by_compute = by_memory = flops = num_bytes = 0.0
    for teacher in teachers:
        own = teacher.layout(layout)
        for stage in teacher.stages:
            own_flops = FLOPS_PER_OPERATION / _PASSES * stage.operations * work.tokens(stage.side)
            own_bytes = _bytes_of(stage, teacher.recipe, vocabulary_size, work, own)
            compute = own_flops / gpu.flops["fp32" if stage.kind == "gate" else precision]
            memory = own_bytes / gpu.memory_bandwidth
            by_compute += compute if compute >= memory else 0.0
            by_memory += 0.0 if compute >= memory else memory
            flops += own_flops
            num_bytes += own_bytes
    return TeacherWork(by_compute + by_memory, flops, num_bytes, by_compute >= by_memory)


def _bytes_of(stage: Stage, recipe: Recipe, vocabulary_size: int, work: Workload, layout: Layout) -> float:
    """Return the memory traffic of a stage's forward pass: weights, and what it computes, written and read once."""
    small, width = layout.element_bytes, recipe.model.width
    cast = 2 * small if small != STREAM_BYTES else 0
    if stage.kind == "output":
        # Logits, and the probabilities that are made of them and added up in float32.
        distribution = work.target_tokens * vocabulary_size * (small + STREAM_BYTES)
        return vocabulary_size * width * (STREAM_BYTES + cast) + _READ_AND_WRITTEN * distribution
    computed = _READ_AND_WRITTEN * activations_of(stage, recipe, work, layout).kept
    if stage.kind == "embedding":
        return computed + work.positions(stage.side) * width * STREAM_BYTES
    weights = sum(parameter.numel() for parameter in stage.parameters.values())
    return computed + weights * (STREAM_BYTES + cast)
