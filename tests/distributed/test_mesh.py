from __future__ import annotations

import pytest
import torch

from mtmoe.distributed.mesh import (
    ONE_PROCESS,
    choose_expert_size,
    device_of_process,
    joined_processes,
    rank_and_size,
    shares,
)
from mtmoe.errors import UserError
from tests.distributed.processes.recipes import small_recipe

LEVELS = {"num_experts": 12, "hierarchy": {"groups": 4, "groups_per_token": 2}}


@pytest.mark.parametrize(("num_processes", "expert_size"), [(1, 1), (2, 2), (3, 3), (4, 2), (5, 1), (12, 6)])
def test_as_many_processes_as_divide_the_six_experts_share_them(num_processes, expert_size):
    assert choose_expert_size(small_recipe(), num_processes) == expert_size


def test_groups_of_experts_stay_whole():
    assert choose_expert_size(small_recipe(0, LEVELS), 12) == 4
    with pytest.raises(UserError, match=r"expert_processes = 3 does not divide model.moe.hierarchy.groups = 4"):
        choose_expert_size(small_recipe(3, LEVELS), 3)


def test_the_setting_decides_and_must_divide_the_number_of_processes():
    assert choose_expert_size(small_recipe(4), 8) == 4
    with pytest.raises(UserError, match="expert_processes = 4 does not divide the number of processes, which is 6"):
        choose_expert_size(small_recipe(4), 6)


def test_a_timeout_alone_leaves_the_division_to_the_number_of_processes_and_needs_no_experts():
    timeout = {"distributed": {"collective_timeout_seconds": 5.0}}
    assert choose_expert_size(small_recipe(**timeout), 4) == 2
    assert choose_expert_size(small_recipe(0, {"kind": "dense", "gate": "softmax"}, **timeout), 4) == 1


def test_shares_are_contiguous_and_those_of_dtensor():
    for num_experts in range(1, 12):
        for size in range(1, 6):
            chunks = torch.arange(num_experts).chunk(size)
            found = [list(range(num_experts))[share] for share in shares(num_experts, size)]
            assert found == [chunk.tolist() for chunk in chunks] + [[]] * (size - len(chunks))


def test_without_torchrun_there_is_one_process(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert rank_and_size() == (0, 1)
    with joined_processes(small_recipe(), torch.device("cpu")) as mesh:
        assert mesh is ONE_PROCESS


def test_half_of_torchruns_variables_are_an_error(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        UserError, match="in the environment, but no LOCAL_RANK, MASTER_ADDR, MASTER_PORT: this process"
    ):
        rank_and_size()


def test_one_gpu_for_several_processes_is_an_error(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(UserError, match="cuda:0: is one GPU for several processes"):
        device_of_process(torch.device("cuda:0"))
    assert device_of_process(torch.device("cpu")) == torch.device("cpu")


def test_processes_have_no_experts_to_divide_where_there_are_none():
    with pytest.raises(UserError, match=r"expert_processes = 2 has no experts to divide: model.moe.kind = .dense."):
        small_recipe(2, {"kind": "dense", "gate": "softmax"})
