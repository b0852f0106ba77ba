"""Memory of one process in a training step, and the moment at which it is largest.

The passes of one batch are gone through stage by stage, as autograd does. Forward, every stage leaves what it keeps.
Backward, that is given back and gradients come instead. The peak is the worst moment of this, or of the optimizer.
Experts are those of the fullest process.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from mtmoe.config import Recipe
from mtmoe.distributed.data_parallel import BUCKET_BYTES
from mtmoe.model.softmax_mixture import LOGITS_AT_ONCE as MIXED_LOGITS_AT_ONCE
from mtmoe.planning.activations import Activations, activations_of
from mtmoe.planning.stages import Stage
from mtmoe.planning.teachers import TeacherNeeds
from mtmoe.planning.workload import STREAM_BYTES, Layout, Workload, expert_bytes
from mtmoe.training.losses.label_smoothing import CHUNK_ELEMENTS as LOGITS_AT_ONCE
from mtmoe.training.losses.sampled_softmax import CHUNK_ELEMENTS as SAMPLED_LOGITS_AT_ONCE
from mtmoe.training.losses.sampled_softmax import mean_num_drawn
from mtmoe.training.losses.taught_cross_entropy import CHUNK_ELEMENTS as COMPARED_LOGITS_AT_ONCE

_FACTORED_ROOM = {True: 1 << 20, False: 1 << 28}  # of FactoredAdam at work, on a CPU and on a GPU


class Parameters(NamedTuple):
    """Numbers of parameters on one process, and bytes of the optimizer's moments.

    group_gates: parameters of the second level's gates, for the groups that are here. moments: bytes for all parameters
    but the experts'. expert_moments: bytes for the experts'.
    """

    replicated: int
    group_gates: int
    experts: int
    moments: int
    expert_moments: int

    @property
    def others(self) -> int:
        """Return the number of all parameters but the experts'."""
        return self.replicated + self.group_gates

    @property
    def total(self) -> int:
        """Return the number of all parameters."""
        return self.others + self.experts

    def weight_bytes(self, recipe: Recipe) -> int:
        """Return the bytes of the weights, which are also those of their gradients."""
        return self.others * STREAM_BYTES + self.experts * expert_bytes(recipe)


class Peak(NamedTuple):
    """Bytes at the worst moment, by what they are for; they add up to it. moment: what happens then, for people."""

    moment: str
    weights: float
    moments: float
    averaged: float
    gradients: float
    activations: float
    passing: float

    @property
    def total(self) -> float:
        """Return all bytes at the worst moment."""
        return self.weights + self.moments + self.averaged + self.gradients + self.activations + self.passing


def parameters_of(stages: list[Stage], recipe: Recipe, layout: Layout) -> Parameters:
    """Return what one process holds: everything that is replicated, and its share of the experts."""
    experts = replicated = group_gates = expert_moments = 0
    factored = recipe.training.expert_optimizer == "factored-adam"
    for stage in stages:
        for name, parameter in stage.parameters.items():
            here = layout.elements_here(parameter.shape, name in stage.sharded)
            if stage.kind == "experts":
                _, rows, columns = parameter.shape
                experts += here
                kept = rows + columns if factored else 2 * rows * columns
                expert_moments += layout.experts_here * kept * STREAM_BYTES
            elif name in stage.sharded:
                group_gates += here
            else:
                replicated += here
    return Parameters(replicated, group_gates, experts, 2 * (replicated + group_gates) * STREAM_BYTES, expert_moments)


def peak_of(
    stages: list[Stage],
    recipe: Recipe,
    vocabulary_size: int,
    work: Workload,
    layout: Layout,
    teachers: TeacherNeeds = TeacherNeeds(),  # noqa: B008, it is immutable
) -> Peak:
    """Return the worst moment of a step, from the second step on: the first one has no moments yet."""
    held = parameters_of(stages, recipe, layout)
    weights = held.weight_bytes(recipe)
    moments = held.moments + held.expert_moments
    averaged = held.total * STREAM_BYTES if recipe.training.ema is not None else 0
    moments_of_step = list(_passes(stages, recipe, vocabulary_size, work, layout, held))
    # The teachers read a batch before the student does, and what they say of it is there until its loss is known.
    before = moments_of_step[0][1]
    moments_of_step = [
        (moment, gradients, activations + teachers.kept, passing)
        for moment, gradients, activations, passing in moments_of_step
    ]
    moments_of_step.append(("forward pass of the teachers", before, teachers.kept, teachers.passing))
    update = max(BUCKET_BYTES * 2 if layout.num_processes > 1 else 0, _room_of_update(held, recipe, layout))
    at_the_end = ("update of the weights", float(weights), 0.0, float(update))
    moment, *alive = max((*moments_of_step, at_the_end), key=lambda entry: sum(entry[1:]))
    return Peak(moment, weights + teachers.weights, moments, averaged, *alive)


def _room_of_update(held: Parameters, recipe: Recipe, layout: Layout) -> int:
    """Return the bytes that factored Adam needs while it works."""
    if recipe.training.expert_optimizer != "factored-adam":
        return 0
    copies = 4 if recipe.training.expert_weights == "bf16" else 1  # of weights, gradients and what rounds them
    return copies * min(held.experts * STREAM_BYTES // 2, _FACTORED_ROOM[layout.on_cpu])


def _passes(
    stages: list[Stage], recipe: Recipe, vocabulary_size: int, work: Workload, layout: Layout, held: Parameters
) -> Iterator[tuple[str, float, float, float]]:
    """Yield (moment, gradients, activations, passing) in bytes, for every moment of a batch.

    The batch is not the first of its step.
    """
    accumulates = recipe.training.gradient_accumulation > 1
    # On a CPU the memory of the experts' gradients is kept for those of the next step.
    there = held.experts * expert_bytes(recipe) if layout.on_cpu else 0
    gradients = float(held.weight_bytes(recipe) if accumulates else there)
    kept = 0.0
    needs = [
        output_activations(recipe, vocabulary_size, work, layout)
        if stage.kind == "output"
        else activations_of(stage, recipe, work, layout)
        for stage in stages
    ]
    for stage, need in zip(stages, needs, strict=True):
        kept += need.kept
        yield f"forward pass of {stage.name}", gradients, kept, need.forward
    for stage, need in zip(reversed(stages), reversed(needs), strict=True):
        new, again = _gradients(stage, recipe, vocabulary_size, layout)
        pooled = new if layout.on_cpu and stage.kind == "experts" and not accumulates else 0.0
        passing = need.backward + again
        if accumulates and (layout.on_cpu or stage.kind != "experts"):  # a GPU adds those of experts as they are made
            passing += new
        gradients += 0.0 if accumulates else new - pooled
        yield f"backward pass of {stage.name}", gradients, kept, passing
        kept -= need.kept


def _gradients(stage: Stage, recipe: Recipe, vocabulary_size: int, layout: Layout) -> tuple[float, float]:
    """Return the bytes of new gradients of a stage's backward pass, and of those added to existing ones."""
    matrix = vocabulary_size * recipe.model.width * STREAM_BYTES
    if stage.kind == "output":
        return matrix, matrix if recipe.training.sampled_softmax is not None else 0.0
    if stage.kind == "embedding":
        tied = recipe.model.tied_embeddings
        shares = tied == "all" or (tied == "target" and stage.side == "target")
        return (0.0, matrix) if shares else (matrix, 0.0)
    if stage.kind == "experts":
        experts = sum(p.shape[1] * p.shape[2] for p in stage.parameters.values())
        return layout.experts_here * experts * expert_bytes(recipe), 0.0
    return sum(
        layout.elements_here(p.shape, name in stage.sharded) for name, p in stage.parameters.items()
    ) * STREAM_BYTES, 0.0


def output_activations(recipe: Recipe, vocabulary_size: int, work: Workload, layout: Layout) -> Activations:
    """Return the activation memory of the output layer and the loss.

    The whole softmax makes their gradients in the forward pass already.
    """
    tokens, width, small = work.target_tokens, recipe.model.width, layout.element_bytes
    hidden, matrix = tokens * width * STREAM_BYTES, vocabulary_size * width
    if recipe.training.sampled_softmax is not None:
        classes = drawn_classes(recipe, vocabulary_size)
        rows = min(tokens, SAMPLED_LOGITS_AT_ONCE / max(1.0, classes))
        kept = 2 * hidden + classes * width * STREAM_BYTES + tokens * 16
        return Activations(kept, rows * classes * STREAM_BYTES * 3, rows * classes * STREAM_BYTES * 5)
    training, softmaxes = recipe.training, recipe.model.softmaxes
    if softmaxes > 1:
        # Only what is read is kept; in the backward pass a part's logits are there in their own type and wide, with the
        # wide one's exponential and the gradients of both.
        rows = min(tokens * softmaxes, max(softmaxes, MIXED_LOGITS_AT_ONCE // vocabulary_size))
        logits = rows * vocabulary_size
        passing = logits * (2 * STREAM_BYTES + small)
        return Activations(hidden + tokens * 16, passing, passing + logits * (STREAM_BYTES + small) + matrix * small)
    if training.distillation is not None or training.consistency is not None:
        rows = min(tokens, max(1.0, COMPARED_LOGITS_AT_ONCE / vocabulary_size))
        # Logits, their logarithms and the gradient; and what each comparison needs, while it is made or after it.
        taught, twice = training.distillation is not None, training.consistency is not None
        copies = 3 + max(5 * taught, 6 * twice + 2 * taught)
        cast = matrix * small if small != STREAM_BYTES else 0
        kept = 2 * hidden + matrix * STREAM_BYTES + tokens * 8
        return Activations(kept, copies * rows * vocabulary_size * STREAM_BYTES + cast + matrix * small + hidden)
    rows = min(tokens, max(1, LOGITS_AT_ONCE // vocabulary_size))
    cast = matrix * small if small != STREAM_BYTES else 0
    kept = 2 * hidden + matrix * STREAM_BYTES + tokens * 8
    return Activations(kept, 2 * rows * vocabulary_size * small + matrix * small + cast + tokens * width * small)


def drawn_classes(recipe: Recipe, vocabulary_size: int) -> float:
    """Return how many classes a sampled softmax looks at, on average."""
    assert recipe.training.sampled_softmax is not None
    return math.ceil(mean_num_drawn(recipe.training.sampled_softmax.num_samples, vocabulary_size))
