"""A process that runs out of memory anywhere in a step: all skip the step, none waits for ever."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import pytest
import torch

from mtmoe.config import Recipe
from mtmoe.data.batches.token_batches import Batch
from mtmoe.distributed import data_parallel
from mtmoe.distributed.collective_log import CollectiveLog
from mtmoe.distributed.mesh import joined_processes
from mtmoe.training.metrics.expert_usage import ExpertUsage
from mtmoe.training.step import StepOutcome, Stepper
from tests.distributed.processes.group import run_group
from tests.distributed.processes.recipes import TWO_LEVELS, language_model, small_recipe
from tests.distributed.processes.workers import CPU, VOCABULARY, batches, doubles, running_text, whole


class Fault(NamedTuple):
    """Where memory is too little: in batch ``batch`` of a step, at the collective ``place``, counted from 1."""

    rank: int
    place: int
    after: bool
    batch: int = 0


def with_faults(log: CollectiveLog, rank: int, faults: list[Fault]) -> None:
    """Let them strike once each. The list may be filled anew before every step."""
    original, begin = log.collective, log.begin_batch
    batch = [-1]

    def begin_batch() -> None:
        batch[0] += 1
        begin()

    def strike(after: bool) -> None:
        place = log._place + (0 if after else 1)
        for fault in faults:
            if fault == (rank, place, after, batch[0]):
                faults.remove(fault)
                raise torch.OutOfMemoryError("injected")

    @contextlib.contextmanager
    def collective(what: str) -> Iterator[bool]:
        if "loss" in what:
            batch[0] = -1  # the step is over
        else:
            strike(False)
        with original(what) as due:
            yield due
        strike(True)

    log.collective, log.begin_batch = collective, begin_batch  # type: ignore[method-assign]


class Result(NamedTuple):
    outcomes: list[tuple[str, tuple[int, ...]]]
    weights: dict[str, np.ndarray]
    layers_used: int


def train_with(recipe: Recipe, steps: list[tuple[Fault, ...]]) -> Result:
    """A training whose steps meet with these faults. Each gradient travels alone, as soon as it is there."""
    data_parallel.BUCKET_BYTES = 1
    with joined_processes(recipe, CPU) as mesh, doubles(True):
        stepper = Stepper(recipe, VOCABULARY, CPU, mesh)
        use, outcomes, faults = ExpertUsage(mesh), [], list[Fault]()
        with_faults(mesh.collective_log, mesh.rank, faults)
        for group, of_step in zip(text_of(recipe, len(steps)), steps, strict=True):
            faults[:] = of_step
            result = stepper(group, use)
            outcomes.append((result.outcome.value, result.out_of_memory))
        return Result(outcomes, whole(stepper, stepper.tensors()[0]), len(use.metrics()))


def text_of(recipe: Recipe, num_steps: int) -> Iterator[list[Batch]]:
    made = running_text if recipe.training.bptt_steps else batches
    return islice(made(num_steps, recipe.training.gradient_accumulation), num_steps)


def without_the_bad_steps(recipe: Recipe, steps: list[tuple[Fault, ...]]) -> dict[str, np.ndarray]:
    """What one process makes of the other steps."""
    with doubles(True):
        stepper = Stepper(recipe, VOCABULARY, CPU)
        for group, faults in zip(text_of(recipe, len(steps)), steps, strict=True):
            if faults:
                stepper.step += 1
            else:
                assert stepper(group, ExpertUsage()).outcome is StepOutcome.APPLIED
        return whole(stepper, stepper.tensors()[0])


def between_good_steps(faults: list[tuple[Fault, ...]]) -> list[tuple[Fault, ...]]:
    return [(), *(step for of_step in faults for step in (of_step, ()))]


def accumulating(expert_processes: int) -> Recipe:
    return small_recipe(expert_processes, gradient_accumulation=2)


def two_levels(expert_processes: int) -> Recipe:
    return small_recipe(expert_processes, TWO_LEVELS)


def balanced(expert_processes: int) -> Recipe:
    return small_recipe(expert_processes, TWO_LEVELS | {"gate": "strictly-balanced"})


def biased(expert_processes: int) -> Recipe:
    moe = {"gate": "sigmoid", "choice_bias_rate": 0.05, "shared_experts": 1, "z_loss_weight": 0.1}
    return small_recipe(expert_processes, moe)


def count_collectives(recipe: Recipe) -> int:
    """Return how many collectives a batch has: those of a step before the sums of gradients, which wait for them."""
    names: list[str] = []
    with joined_processes(recipe, CPU) as mesh, doubles(True):
        original = mesh.collective_log.collective

        def collective(what: str) -> contextlib.AbstractContextManager[bool]:
            names.append(what)
            return original(what)

        mesh.collective_log.collective = collective  # type: ignore[method-assign]
        [group] = text_of(recipe, 1)
        Stepper(recipe, VOCABULARY, CPU, mesh)(group, ExpertUsage(mesh))
    return next(place for place, name in enumerate(names) if name == "all_reduce of gradients")


def everywhere(recipe: Recipe) -> list[tuple[Fault, ...]]:
    """Return a fault before and one after each collective of a batch."""
    counts = set(run_group(2, count_collectives, recipe))
    assert len(counts) == 1
    return [(Fault(1, place, after),) for place in range(1, counts.pop() + 1) for after in (False, True)]


BOTH = [(Fault(0, 3, True), Fault(1, 7, False)), (Fault(0, 10, False), Fault(1, 2, False))]
CASES: dict[str, tuple[Callable[[int], Recipe], bool, list[tuple[Fault, ...]]]] = {
    "sentences": (small_recipe, True, BOTH),
    "two-levels": (two_levels, True, []),
    "balanced": (balanced, True, []),
    "biased-shared": (biased, True, []),
    "second-batch": (accumulating, False, [(Fault(0, 6, False, batch=1),)]),
    "running-text": (language_model, False, [(Fault(1, 3, False),), (Fault(0, 5, True),)]),
}
"""Which training, whether a fault strikes at each of its collectives, and faults besides."""


@pytest.mark.parametrize("case", CASES)
def test_all_processes_skip_the_step_and_go_on_as_if_it_had_not_been(case: str) -> None:
    recipe_of, strikes_everywhere, others = CASES[case]
    steps = between_good_steps([*(everywhere(recipe_of(2)) if strikes_everywhere else []), *others])
    expected = without_the_bad_steps(recipe_of(1), steps)
    for result in run_group(2, train_with, recipe_of(2), steps):
        for outcome, of_step in zip(result.outcomes, steps, strict=True):
            ranks = tuple(sorted(fault.rank for fault in of_step))
            assert outcome == ("out of memory" if ranks else "applied", ranks), of_step
        assert result.layers_used
        for name, weights in expected.items():
            np.testing.assert_allclose(result.weights[name], weights, rtol=0, atol=1e-10, err_msg=name)
