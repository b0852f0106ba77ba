"""Who keeps the others waiting is named, with the collective and the layer, and nobody waits for ever."""

from __future__ import annotations

import time
from itertools import islice
from typing import Any

from mtmoe.config.settings import Distributed
from mtmoe.distributed import mesh as mesh_module
from mtmoe.distributed.collective_log import Activity
from mtmoe.distributed.mesh import joined_processes
from mtmoe.distributed.watchdog import report
from mtmoe.errors import UserError
from mtmoe.training.metrics.expert_usage import ExpertUsage
from mtmoe.training.step import Stepper
from tests.distributed.processes.group import run_group
from tests.distributed.processes.recipes import small_recipe
from tests.distributed.processes.workers import CPU, VOCABULARY, batches

TIMEOUT_SECONDS, TIME_TO_TELL_SECONDS = 3.0, 2.0


def sleep_in_a_layer() -> tuple[list[str], str]:
    """Process 1 does so in the second step, after the main process has measured for long. What was told, and raised."""
    mesh_module._TIME_TO_TELL_SECONDS = TIME_TO_TELL_SECONDS
    told: list[str] = []
    recipe = small_recipe(2)
    distributed = recipe.training.distributed.model_copy(update={"collective_timeout_seconds": TIMEOUT_SECONDS})
    recipe = recipe.model_copy(
        update={"training": recipe.training.model_copy(update={"distributed": distributed})}
    )  # fmt: skip
    try:
        with joined_processes(recipe, CPU, told.append) as mesh:
            stepper = Stepper(recipe, VOCABULARY, CPU, mesh)
            groups = batches(2)
            mesh.collective_log.at(1, "reading a batch")
            stepper(*islice(groups, 1), ExpertUsage())
            if mesh.is_main:
                mesh.collective_log.at(1, "measuring on the dev set", is_long=True)
                time.sleep(TIMEOUT_SECONDS + TIME_TO_TELL_SECONDS + 1)
            assert mesh.value_of_main(mesh.rank + 7.0, "the result") == 7.0
            assert told == []
            mesh.collective_log.at(2, "reading a batch")
            if mesh.rank == 1:
                gate = stepper.model.decoder.moe_layers["1"].gate
                gate.register_forward_pre_hook(lambda *_: time.sleep(TIMEOUT_SECONDS + TIME_TO_TELL_SECONDS + 3))
            stepper(*islice(groups, 1), ExpertUsage())
    except UserError as error:
        return told, str(error)
    return told, ""


def sleep_before_a_step() -> tuple[list[str], str, float]:
    """Of a model without experts, whose first collective is the sum of gradients. What was told, raised, and when."""
    mesh_module._TIME_TO_TELL_SECONDS = TIME_TO_TELL_SECONDS
    told: list[str] = []
    recipe = small_recipe(0, {"kind": "dense", "gate": "softmax"})
    distributed = Distributed(collective_timeout_seconds=TIMEOUT_SECONDS)
    recipe = recipe.model_copy(
        update={"training": recipe.training.model_copy(update={"distributed": distributed})}
    )  # fmt: skip
    began = time.monotonic()
    try:
        with joined_processes(recipe, CPU, told.append) as mesh:
            stepper = Stepper(recipe, VOCABULARY, CPU, mesh)
            groups = batches(2)
            stepper(*islice(groups, 1), ExpertUsage())
            mesh.collective_log.at(2, "reading a batch")
            began = time.monotonic()
            if mesh.rank == 1:
                time.sleep(TIMEOUT_SECONDS + TIME_TO_TELL_SECONDS + 20)
            stepper(*islice(groups, 1), ExpertUsage())
    except UserError as error:
        return told, str(error), time.monotonic() - began
    return told, "", time.monotonic() - began


def test_gradients_are_not_waited_for_any_longer() -> None:
    (told, raised, seconds), _ = run_group(2, sleep_before_a_step)
    assert len(told) == 1
    assert "process 0 has waited 3 s in step 2 for all_reduce of gradients, where these have not come" in told[0]
    assert "in step 2 reading a batch" in told[0]
    assert "process 0, step 2: all_reduce of gradients failed: " in raised
    assert seconds < TIMEOUT_SECONDS + TIME_TO_TELL_SECONDS + 10


def test_a_process_that_sleeps_in_a_layer_is_named_with_what_it_did_last_and_the_others_give_up() -> None:
    (told, raised), (_, of_sleeper) = run_group(2, sleep_in_a_layer)
    assert len(told) == 1
    assert "process 0 has waited 3 s in step 2 for all_reduce of decoder.moe1's sums of gates" in told[0]
    assert "where these have not come: process 1 (" in told[0]
    assert "in step 2 after all_to_all_single of outputs from the experts of encoder.moe1" in told[0]
    assert "process 0, step 2: all_reduce of decoder.moe1's sums of gates failed: " in raised
    assert told[0] in raised
    assert "torchrun --max-restarts" in raised
    assert "process 1, step 2: all_reduce of decoder.moe1's sums of gates failed: " in of_sleeper


def spoken(number: int, *, is_long: bool = False, silent_seconds: float = 1.0) -> dict[str, Any]:
    told_at = time.time() - silent_seconds
    return {
        "number": number, "step": 4, "what": "reading a batch", "is_long": is_long, "seconds": 31.0,
        "told_at": told_at, "process": "node7, pid 12",
    }  # fmt: skip


def test_a_report_names_all_that_are_behind_and_only_them() -> None:
    now = Activity(9, 4, "all_reduce of the loss", True, time.monotonic() - 30)
    assert report(0, now, {1: spoken(9), 2: spoken(8), 3: None}, 20) == (
        "process 0 has waited 30 s in step 4 for all_reduce of the loss, where these have not come: "
        "process 2 (node7, pid 12), which 1 s ago was in step 4 reading a batch for 31 s; "
        "process 3 has never been heard of"
    )
    assert report(0, now, {1: spoken(9), 2: spoken(10)}, 20).endswith(
        "and all others have come: the connection between them, or a disk, does not answer"
    )


def test_a_main_process_that_measures_is_waited_for_as_long_as_it_gives_signs_of_life() -> None:
    now = Activity(9, 4, "broadcast of the dev set's result", True, time.monotonic() - 30)
    assert report(1, now, {0: spoken(8, is_long=True), 2: spoken(9)}, 20) == ""
    assert "process 0 (" in report(1, now, {0: spoken(8, is_long=True, silent_seconds=25), 2: spoken(9)}, 20)
    assert "process 2 (" in report(1, now, {0: spoken(8, is_long=True), 2: spoken(8)}, 20)
