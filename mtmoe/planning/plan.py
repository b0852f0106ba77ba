"""Plan of a training on a number of GPUs, behind ``mtmoe plan``: memory, traffic, least time, and what to change.

No model is made: the plan takes no memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mtmoe.config import Recipe
from mtmoe.distributed.mesh import choose_expert_size, shares
from mtmoe.errors import UserError
from mtmoe.planning.devices import Gpu
from mtmoe.planning.efficiency import Efficiency, measured_efficiency
from mtmoe.planning.gpu_memory import Parameters, Peak, parameters_of, peak_of
from mtmoe.planning.recipe_changes import batch_unit, savings, splits, with_changes, with_settings
from mtmoe.planning.roofline import StageTime, Traffic, flops_of, stage_times, traffic_of
from mtmoe.planning.stages import Stage, stages_of
from mtmoe.planning.teachers import (
    TeacherShape,
    TeacherWork,
    teacher_needs,
    teachers_of,
    work_of_batch,
    work_of_teachers,
)
from mtmoe.planning.workload import STREAM_BYTES, Layout, Workload, full_workload

_ELEMENT_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
_MOST_TOKENS = 1 << 40


class Cluster(NamedTuple):
    """GPUs of one kind, with one process each.

    efficiency: share of the floor's speed that is reached; None for what was measured (`efficiency.py`). All times are
    divided by it.
    """

    gpu: Gpu
    num_gpus: int
    efficiency: float | None = 1.0

    @property
    def usable_memory(self) -> float:
        """Return the bytes of a GPU that tensors can have."""
        return self.gpu.memory - self.gpu.reserved


class Shortage(NamedTuple):
    """A resource that there is too little of, in bytes. why: what takes it. fix: what to change."""

    resource: str
    needed: float
    available: float
    why: str
    fix: str


class Plan(NamedTuple):
    """Prediction for a training: bytes of the fullest GPU, and seconds and rates of the floor divided by the
    efficiency.

    start_bytes: main memory of a node, in which its processes make their weights. tokens_per_expert: of one batch.
    tokens_per_second: tokens of both sides. tokens_per_step, budget_tokens (of max_steps): on the longer side.
    largest_batch_tokens: the largest training.batch_tokens that fits, with everything else as it is; 0 if none fits.
    """

    recipe: str
    cluster: Cluster
    precision: str
    layout: Layout
    num_parameters: int
    parameters: Parameters
    peak: Peak
    start_bytes: float
    tokens_per_expert: float
    traffic: Traffic
    efficiency: Efficiency
    stage_times: list[StageTime]
    step_seconds: float
    step_flops: float
    target_tokens_per_second: float
    tokens_per_second: float
    tokens_per_step: int
    budget_tokens: int
    largest_batch_tokens: int
    shortages: list[Shortage]
    notes: list[str]

    @property
    def fits(self) -> bool:
        """Return whether there is enough of everything."""
        return not self.shortages

    @property
    def days(self) -> float:
        """Return the days that max_steps take, without validations."""
        return self.budget_tokens / self.tokens_per_step * self.step_seconds / 86400

    @property
    def gpu_hours(self) -> float:
        """Return the GPU-hours that max_steps take, without validations."""
        return 24 * self.days * self.cluster.num_gpus

    @property
    def tflops_per_gpu(self) -> float:
        """Return TFLOP/s of one GPU by the paper's definition (appendix C)."""
        return self.step_flops / self.step_seconds / self.cluster.num_gpus / 1e12


def make_plan(recipe: Recipe, cluster: Cluster, vocabulary_size: int = 0) -> Plan:
    """Plan a training, with the recipe's own vocabulary size unless another one is given.

    Raises:
        UserError: the recipe cannot be divided among so many processes, or the GPU lacks its arithmetic.
    """
    vocabulary_size = vocabulary_size or recipe.subwords.vocabulary_size
    stages = stages_of(recipe, vocabulary_size)
    teachers, missing = teachers_of(recipe, vocabulary_size)
    plan = _Planner(stages, cluster, vocabulary_size, teachers).plan(recipe)
    if missing:
        note = (
            f"of the teachers (training.distillation) {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not "
            "there, and not counted: the weights of each, and the time of its forward pass, come on top"
        )
        plan.notes.insert(0, note)
    return plan


class _Planner:
    """Planner for one network on one cluster, and for variants of its recipe that have the same parameters."""

    def __init__(
        self, stages: list[Stage], cluster: Cluster, vocabulary_size: int, teachers: Sequence[TeacherShape] = ()
    ) -> None:
        """Take the stages of the network, which do not depend on the recipe's settings of training, and of its
        teachers."""
        self.stages, self.cluster, self.vocabulary_size, self.teachers = stages, cluster, vocabulary_size, teachers

    def plan(self, recipe: Recipe) -> Plan:
        """Return the plan of a recipe."""
        cluster, training = self.cluster, recipe.training
        precision = _precision(recipe, cluster.gpu)
        layout, work = self.layout(recipe), full_workload(recipe, cluster.num_gpus)
        held = parameters_of(self.stages, recipe, layout)
        taught = self.teaching(recipe, layout, precision)
        times = stage_times(
            self.stages, recipe, self.vocabulary_size, work, layout, cluster.gpu, precision, held, taught
        )
        floor_seconds = sum(part.seconds for part in times)
        reached = self.efficiency(floor_seconds / training.gradient_accumulation)
        seconds = floor_seconds / reached.share
        flops = sum(flops_of(stage, recipe, self.vocabulary_size, work) for stage in self.stages)
        flops += taught.flops if taught is not None else 0.0
        batches = training.gradient_accumulation
        batches_per_second = batches * cluster.num_gpus / seconds / training.num_readings
        target = work.target_tokens * batches_per_second
        both = target + work.source_tokens * batches_per_second
        num_parameters = sum(p.numel() for stage in self.stages for p in stage.parameters.values())
        peak = self.peak(recipe)
        moe = recipe.model.moe
        plan = Plan(
            recipe=recipe.name,
            cluster=cluster,
            precision=precision,
            layout=layout,
            num_parameters=num_parameters,
            parameters=held,
            peak=peak,
            start_bytes=_start_bytes(recipe, held, cluster),
            tokens_per_expert=(
                training.batch_tokens * training.num_readings * moe.experts_per_token / moe.num_experts
                if recipe.has_experts
                else 0.0
            ),
            traffic=traffic_of(self.stages, recipe, work, layout, held),
            efficiency=reached,
            stage_times=[part._replace(seconds=part.seconds / reached.share) for part in times],
            step_seconds=seconds,
            step_flops=flops * batches * cluster.num_gpus,
            target_tokens_per_second=target,
            tokens_per_second=both,
            tokens_per_step=training.batch_tokens * batches,
            budget_tokens=training.max_steps * training.batch_tokens * batches,
            largest_batch_tokens=self.largest_batch(recipe),
            shortages=[],
            notes=_notes(recipe, cluster, work),
        )
        return plan._replace(shortages=list(self.shortages(recipe, plan)))

    def efficiency(self, floor_seconds: float) -> Efficiency:
        """Return the share of the floor's speed that is reached; ``floor_seconds``: of a batch."""
        given = self.cluster.efficiency
        if given is not None:
            return Efficiency(given, "given")
        return measured_efficiency(floor_seconds, self.cluster.gpu.name, self.cluster.num_gpus)

    def layout(self, recipe: Recipe) -> Layout:
        """Return how the processes divide the experts."""
        num_gpus = self.cluster.num_gpus
        expert_processes = choose_expert_size(recipe, num_gpus)
        first = shares(recipe.model.moe.num_experts, expert_processes)[0]
        element_bytes = _ELEMENT_BYTES[_precision(recipe, self.cluster.gpu)]
        return Layout(num_gpus, expert_processes, first.stop - first.start, element_bytes, on_cpu=False)

    def teaching(self, recipe: Recipe, layout: Layout, precision: str) -> TeacherWork | None:
        """Return what the teachers take of one batch; None where there are none."""
        if not self.teachers:
            return None
        work = work_of_teachers(recipe, self.cluster.num_gpus)
        return work_of_batch(self.teachers, self.vocabulary_size, work, layout, self.cluster.gpu, precision)

    def peak(self, recipe: Recipe) -> Peak:
        """Return the worst moment of a training step."""
        num_gpus, layout = self.cluster.num_gpus, self.layout(recipe)
        needs = teacher_needs(self.teachers, self.vocabulary_size, work_of_teachers(recipe, num_gpus), layout)
        work = full_workload(recipe, num_gpus)
        return peak_of(self.stages, recipe, self.vocabulary_size, work, layout, needs)

    def fits(self, recipe: Recipe) -> bool:
        """Return whether a training step fits into a GPU's memory."""
        return self.peak(recipe).total <= self.cluster.usable_memory

    def largest_batch(self, recipe: Recipe) -> int:
        """Return the largest training.batch_tokens that fits, or 0.

        It is a multiple of the longest sentence, or of training.bptt_steps.
        """
        tokens = batch_unit(recipe)
        if not self.fits(with_settings(recipe, batch_tokens=tokens)):
            return 0
        low, high = 1, _MOST_TOKENS // tokens
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.fits(with_settings(recipe, batch_tokens=middle * tokens)) else (
                low, middle - 1)  # fmt: skip
        return low * tokens

    # --------------------------------------------------------------------------------------- what is too little

    def shortages(self, recipe: Recipe, plan: Plan) -> Iterator[Shortage]:
        """Yield what there is too little of."""
        if plan.peak.total > self.cluster.usable_memory:
            yield Shortage(
                "GPU memory in a training step", plan.peak.total, self.cluster.usable_memory, _largest_part(plan),
                self.fix(recipe),
            )  # fmt: skip
        if plan.start_bytes > self.cluster.gpu.node_memory > 0:
            yield Shortage(
                "main memory of a node at the start", plan.start_bytes, self.cluster.gpu.node_memory,
                "each process makes its weights there",
                "start fewer processes a node, or take nodes with more memory (--node-memory)",
            )  # fmt: skip

    def fix(self, recipe: Recipe) -> str:
        """Return the fewest changes with which a step fits, as options of the command."""
        saving, splitting = savings(recipe), splits(recipe)
        groups = [[change] for change in (*saving, *splitting)] + [saving]
        groups += [[*saving, split] for split in splitting]
        for factor in (1, 2, 4, 8, 16, 32, 64):
            larger = self.cluster._replace(num_gpus=self.cluster.num_gpus * factor)
            planner = _Planner(self.stages, larger, self.vocabulary_size, self.teachers)
            for group in groups if factor == 1 else [[], *groups]:
                if planner.fits(with_changes(recipe, group)):
                    return " ".join([change.text for change in group] + ([f"--gpus {larger.num_gpus}"] * (factor > 1)))
        return "no setting is enough: take GPUs with more memory, or a smaller model or vocabulary"


def _precision(recipe: Recipe, gpu: Gpu) -> str:
    """Return the precision of a training on this GPU.

    Raises:
        UserError: the GPU has no instructions for the precision that the recipe names.
    """
    wanted = recipe.training.precision
    if wanted == "auto":
        return "bf16" if "bf16" in gpu.flops else "fp32"
    if wanted not in gpu.flops:
        raise UserError(
            f'training.precision = "{wanted}", which {gpu.name} has no instructions for',
            fix=f"--set training.precision=auto, which is {'bf16' if 'bf16' in gpu.flops else 'fp32'} there",
        )
    return wanted


def _start_bytes(recipe: Recipe, held: Parameters, cluster: Cluster) -> float:
    """Return the main memory of a node that its processes need to make their weights, in bytes."""
    copies = 2 if recipe.training.ema is not None else 1
    here = min(cluster.num_gpus, cluster.gpu.gpus_per_node)
    return float(copies * here * held.total * STREAM_BYTES)


def _largest_part(plan: Plan) -> str:
    """Return what takes the most memory at the worst moment, for people."""
    peak = plan.peak
    parts = [(name, getattr(peak, name)) for name in peak._fields[1:]]
    parts.sort(key=lambda part: -part[1])
    named = ", ".join(f"{name} {value / 1e9:.1f} GB" for name, value in parts[:3])
    return f"{peak.moment}: {named}"


def _notes(recipe: Recipe, cluster: Cluster, work: Workload) -> list[str]:
    """Return remarks on the plan, for people."""
    notes = []
    rows = work.rows / recipe.training.num_readings
    if rows < 1:
        notes.append(
            f"a batch of the longest sentences has {rows * cluster.num_gpus:.0f} of them for {cluster.num_gpus} "
            "processes: some will wait; raise training.batch_tokens and lower training.gradient_accumulation"
        )
    if not cluster.gpu.is_supported:
        notes.append(f"current versions of torch do not run on {cluster.gpu.name}: this is arithmetic")
    return notes
