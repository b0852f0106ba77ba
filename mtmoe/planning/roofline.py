"""Roofline of a training step: the least time that it can take on given devices, and where it goes.

A stage takes ``max(operations / peak, bytes / bandwidth)``. What travels takes ``bytes / bandwidth`` of the slowest
link. Stages follow one another, and nothing travels while something is computed, as in the trainer. No program reaches
this floor: launches, waits between steps of an LSTM, uneven experts and rates below the data sheet's come on top.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Literal, NamedTuple

from mtmoe.config import Recipe
from mtmoe.planning.activations import activations_of
from mtmoe.planning.devices import Gpu
from mtmoe.planning.gpu_memory import Parameters, drawn_classes, output_activations
from mtmoe.planning.stages import Stage
from mtmoe.planning.teachers import TeacherWork
from mtmoe.planning.workload import STREAM_BYTES, Layout, Workload, expert_bytes
from mtmoe.training.metrics.training_flops import FLOPS_PER_OPERATION

Bound = Literal["compute", "memory", "network"]
_UPDATE_BYTES = {"adam": 28.0, "factored-adam": 16.0}  # read and written for a parameter
_CLIP_BYTES = 12.0  # gradients are read for their norm, and read and written to be scaled


class StageTime(NamedTuple):
    """Seconds of a step for one kind of stage. flops and num_bytes: of one process in a step."""

    kind: str
    seconds: float
    flops: float
    num_bytes: float
    bound: Bound


class Traffic(NamedTuple):
    """Bytes that one process sends in a step.

    all_to_all: rows of tokens to other processes' experts and back.
    reduced_by_all, reduced_by_copies: size of the gradients that are summed over all processes, or over the processes
    that
    have copies of the same experts.
    """

    all_to_all: float
    reduced_by_all: float
    reduced_by_copies: float


def stage_times(
    stages: list[Stage], recipe: Recipe, vocabulary_size: int, work: Workload, layout: Layout, gpu: Gpu,
    precision: str, held: Parameters, teachers: TeacherWork | None = None,
) -> list[StageTime]:  # fmt: skip
    """Return the least seconds of each kind of stage, of the update, and of what travels, in the order of a step.

    Args:
        teachers: what the forward passes of the teachers take of one batch; None where there are none.
    """
    by_kind: defaultdict[str, list[StageTime]] = defaultdict(list)
    batches = recipe.training.gradient_accumulation
    for stage in stages:
        flops = batches * flops_of(stage, recipe, vocabulary_size, work)
        num_bytes = batches * _bytes_of(stage, recipe, vocabulary_size, work, layout)
        # Gates choose in float32, whatever the precision.
        peak = gpu.flops["fp32" if stage.kind == "gate" else precision]
        by_kind[stage.kind].append(_roofline_time(stage.kind, flops, num_bytes, peak, gpu))
    times = [_sum_of_times(kind, parts) for kind, parts in by_kind.items()]
    if teachers is not None:
        bound: Bound = "compute" if teachers.is_compute_bound else "memory"
        seconds, flops, num_bytes = (batches * value for value in teachers[:3])
        times.insert(0, StageTime("teachers", seconds, flops, num_bytes, bound))
    times.append(_roofline_time("update of weights", 0.0, _update_bytes(recipe, held), gpu.flops["fp32"], gpu))
    return times + list(_communication_times(traffic_of(stages, recipe, work, layout, held), layout, gpu))


def flops_of(stage: Stage, recipe: Recipe, vocabulary_size: int, work: Workload) -> float:
    """Return the operations of one process for one batch, forward and backward; a multiply-add counts twice."""
    operations, per_operation = float(stage.operations), float(FLOPS_PER_OPERATION)
    if stage.kind == "output" and recipe.training.sampled_softmax is not None:
        operations = recipe.model.width * (drawn_classes(recipe, vocabulary_size) + 1.0)
        per_operation += 2  # its products are computed again in the backward pass
    if stage.kind == "experts" and recipe.model.moe.recompute_experts:
        per_operation += 1  # the first one of its two matrices
    return per_operation * operations * work.tokens(stage.side)


def traffic_of(
    stages: list[Stage], recipe: Recipe, work: Workload, layout: Layout, held: Parameters
) -> Traffic:  # fmt: skip
    """Return the bytes that one process sends in a step, if the experts get equal numbers of tokens."""
    tokens = sum(work.tokens(stage.side) for stage in stages if stage.kind == "experts")
    sent = tokens * _bytes_of_token(recipe, layout) * (1 - 1 / layout.expert_processes)
    copies = 0
    if layout.data_processes > 1:
        copies = held.experts * expert_bytes(recipe) + held.group_gates * STREAM_BYTES
    reduced = held.replicated * STREAM_BYTES if layout.num_processes > 1 else 0
    return Traffic(sent * recipe.training.gradient_accumulation, reduced, copies)


def _bytes_of_token(recipe: Recipe, layout: Layout) -> float:
    """Return the bytes that travel to a token's experts and back, forward and backward, if all are elsewhere."""
    moe, width = recipe.model.moe, recipe.model.width
    if moe.hierarchy is None:
        return 4.0 * moe.experts_per_token * width * layout.element_bytes
    # To each group a row in the type of the gates, its gate and the key of its noise; back what the experts compute.
    keys = 8 if moe.gate == "noisy-top-k" else 0
    row = 2 * (width + 1) * STREAM_BYTES + 2 * width * layout.element_bytes + keys
    return float(moe.hierarchy.groups_per_token * row)


def _communication_times(traffic: Traffic, layout: Layout, gpu: Gpu) -> Iterator[StageTime]:
    """Yield the time of the all-to-all and of the sums of gradients, where there are any."""
    here = min(gpu.gpus_per_node, layout.num_processes)
    nodes = -(-layout.num_processes // here)
    if traffic.all_to_all:
        near = min(here, layout.expert_processes)
        others = layout.expert_processes - 1
        inside = traffic.all_to_all * (near - 1) / others / gpu.node_bandwidth
        outside = traffic.all_to_all * (layout.expert_processes - near) / others / gpu.network_bandwidth
        yield StageTime("all-to-all of tokens", max(inside, outside), 0.0, traffic.all_to_all, "network")
    seconds = num_bytes = 0.0
    if traffic.reduced_by_all:
        # A ring in each node, and one between nodes for each GPU of a node with its part.
        num_bytes += 2 * traffic.reduced_by_all
        seconds += 2 * traffic.reduced_by_all * (here - 1) / here / gpu.node_bandwidth
        seconds += 2 * traffic.reduced_by_all / here * (nodes - 1) / nodes / gpu.network_bandwidth
    if traffic.reduced_by_copies:
        copies = layout.data_processes
        far = layout.num_processes > gpu.gpus_per_node
        num_bytes += 2 * traffic.reduced_by_copies
        rate = gpu.network_bandwidth if far else gpu.node_bandwidth
        seconds += 2 * traffic.reduced_by_copies * (copies - 1) / copies / rate
    if num_bytes:
        yield StageTime("sum of gradients", seconds, 0.0, num_bytes, "network")


def _bytes_of(stage: Stage, recipe: Recipe, vocabulary_size: int, work: Workload, layout: Layout) -> float:
    """Return the memory traffic of one process for one batch, in bytes.

    It has weights, gradients, and what is kept for the backward pass, written and read once.
    """
    if stage.kind == "output":
        need = output_activations(recipe, vocabulary_size, work, layout)
        weights = vocabulary_size * recipe.model.width
        logits = work.target_tokens * vocabulary_size * layout.element_bytes
        if recipe.training.sampled_softmax is not None:
            return 2 * need.kept + 3 * weights * STREAM_BYTES
        return 2 * need.kept + _weight_bytes(weights, 1.0, recipe, layout) + 4 * logits
    need = activations_of(stage, recipe, work, layout)
    if stage.kind == "embedding":
        rows = 3 * work.positions(stage.side) * recipe.model.width * STREAM_BYTES
        return 2 * need.kept + rows + vocabulary_size * recipe.model.width * STREAM_BYTES
    weights = sum(layout.elements_here(p.shape, name in stage.sharded) for name, p in stage.parameters.items())
    if stage.kind != "experts":
        return 2 * need.kept + _weight_bytes(weights, 1.0, recipe, layout)
    num_experts = recipe.model.moe.num_experts
    pairs = work.tokens(stage.side) * recipe.model.moe.experts_per_token
    received = pairs * layout.expert_processes / num_experts  # by one expert
    busy = 1 - (1 - 1 / num_experts) ** (received * num_experts)
    # Rows are gathered, multiplied, and summed again: eight passes over D-wide rows in all (forward 3, backward 5).
    rows = 8 * pairs * recipe.model.width * layout.element_bytes
    return 2 * need.kept + rows + _weight_bytes(weights, busy, recipe, layout, expert_bytes(recipe))


def _weight_bytes(weights: float, busy: float, recipe: Recipe, layout: Layout, item: int = STREAM_BYTES) -> float:
    """Return the memory traffic of weights and their gradients, in bytes.

    Weights of the busy experts are read forward and backward, and cast where products are narrow. Gradients are
    written;
    from the second batch of a step on they are added to those that are there. item: bytes of one weight.
    """
    small = layout.element_bytes
    cast = 2 * small if small != item else 0
    batches = recipe.training.gradient_accumulation
    added = 3 * item * (batches - 1) / batches
    return weights * (2 * busy * (item + cast) + item + added)


def _update_bytes(recipe: Recipe, held: Parameters) -> float:
    """Return the memory traffic of the weight update: optimizer, gradient clipping and EMA, in bytes."""
    training = recipe.training
    num_bytes = held.others * _UPDATE_BYTES["adam"] + held.experts * _UPDATE_BYTES[training.expert_optimizer]
    num_bytes += held.total * _CLIP_BYTES
    if training.ema is not None:
        num_bytes += held.total * 3 * STREAM_BYTES / training.ema.every_steps
    return num_bytes


def _roofline_time(kind: str, flops: float, num_bytes: float, peak: float, gpu: Gpu) -> StageTime:
    """Return the time of a stage, bound by its operations or by its bytes, whichever takes longer."""
    compute, memory = flops / peak, num_bytes / gpu.memory_bandwidth
    return StageTime(kind, max(compute, memory), flops, num_bytes, "compute" if compute >= memory else "memory")


def _sum_of_times(kind: str, parts: list[StageTime]) -> StageTime:
    """Return the sum of several stages, with the bound of the longest of them."""
    longest = max(parts, key=lambda part: part.seconds)
    return StageTime(
        kind,
        sum(part.seconds for part in parts),
        sum(part.flops for part in parts),
        sum(part.num_bytes for part in parts),
        longest.bound,
    )
