"""A checkpoint of four processes is read by any other number of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from mtmoe.checkpoint import RunFiles, last_checkpoint, read_weights
from mtmoe.errors import UserError
from tests.distributed.processes.group import run_group
from tests.distributed.processes.recipes import TWO_LEVELS, small_recipe
from tests.distributed.processes.shard_workers import State, load_and_go_on, save_and_go_on

STACK = "encoder.moe_layers.1.experts.first_EDH"
THOROUGH = {"expert_optimizer": "factored-adam", "ema": {"decay": 0.9, "every_steps": 1}}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> tuple[Path, State, State]:
    """The run, what was saved, and what its own processes made of it."""
    run = tmp_path_factory.mktemp("run")
    results = run_group(4, save_and_go_on, small_recipe(4, **THOROUGH), run)
    return run, *results[0]


@pytest.mark.parametrize(("num_processes", "expert_processes"), [(1, 1), (2, 1), (2, 2), (3, 3)])
def test_every_process_loads_what_four_have_saved_and_goes_on_as_they_did(saved, num_processes, expert_processes):
    run, before, after = saved
    for loaded, gone_on in run_group(num_processes, load_and_go_on, small_recipe(expert_processes, **THOROUGH), run):
        assert loaded.keys() == before.keys()
        for name in before:
            assert np.array_equal(loaded[name], before[name]), name
            np.testing.assert_allclose(gone_on[name], after[name], rtol=0, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("gate", ["noisy-top-k", "strictly-balanced"])
def test_groups_and_their_gates_too(tmp_path, gate):
    moe = TWO_LEVELS | {"gate": gate}
    before, after = run_group(4, save_and_go_on, small_recipe(4, moe), tmp_path)[0]
    assert before["encoder.moe_layers.1.gate.gate_GDL"].shape == (4, 8, 3)
    for num_processes, expert_processes in ((1, 1), (2, 2)):
        for loaded, gone_on in run_group(num_processes, load_and_go_on, small_recipe(expert_processes, moe), tmp_path):
            assert loaded.keys() == before.keys()
            for name in before:
                assert np.array_equal(loaded[name], before[name]), name
                np.testing.assert_allclose(gone_on[name], after[name], rtol=0, atol=1e-10, err_msg=name)


def test_the_shards_are_safetensors_of_which_each_process_wrote_its_own(saved):
    checkpoint = last_checkpoint(RunFiles(saved[0]))
    assert checkpoint is not None
    assert sorted(path.name for path in checkpoint.path.iterdir()) == ["model", "state.json", "training"]
    held = []
    for path in (checkpoint.path / "model").iterdir():
        with safe_open(path, "pt") as file:
            held += [file.get_slice(name).get_shape()[0] for name in file.keys() if name == STACK]  # noqa: SIM118
    # Six experts on four processes are 2, 2, 2 and 0.
    assert [number for number in held if number] == [2, 2, 2]


def test_one_process_without_a_group_reads_the_whole_weights(saved):
    run, before, _ = saved
    checkpoint = last_checkpoint(RunFiles(run))
    assert checkpoint is not None
    for name, weights in read_weights(checkpoint.path).items():
        assert torch.equal(weights, torch.from_numpy(before[name])), name


def test_a_shard_that_is_cut_off_is_damage_and_no_traceback(saved, tmp_path):
    copy = tmp_path / "copy"
    checkpoint = last_checkpoint(RunFiles(saved[0]))
    assert checkpoint is not None
    shutil.copytree(checkpoint.path, copy)
    shard = next((copy / "model").iterdir())
    shard.write_bytes(shard.read_bytes()[:-50])
    with pytest.raises(UserError, match="model: damaged: "):
        read_weights(copy)
