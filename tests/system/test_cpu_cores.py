"""The cores that a process may use: of the machine, of its own set, of its container's share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mtmoe.system import cpu_cores as processor


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Control groups without a limit, around a process that may run on 64 cores."""
    monkeypatch.setattr(processor, "CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    return tmp_path


def test_without_a_limit_all_cores_that_the_process_may_run_on(groups: Path) -> None:
    assert processor.num_cores() == 64
    (groups / "cpu.max").write_text("max 100000\n")
    assert processor.num_cores() == 64


@pytest.mark.parametrize(("quota", "cores"), [(200_000, 2), (150_000, 2), (50_000, 1), (9_000_000, 64)])
def test_a_containers_share(groups: Path, quota: int, cores: int) -> None:
    (groups / "cpu.max").write_text(f"{quota} 100000\n")
    assert processor.num_cores() == cores


def test_the_least_share_of_the_groups_around_the_process(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (groups / "slice" / "job").mkdir(parents=True)
    (groups / "cpu.max").write_text("max 100000\n")
    (groups / "slice" / "cpu.max").write_text("300000 100000\n")
    (groups / "slice" / "job" / "cpu.max").write_text("800000 100000\n")
    monkeypatch.setattr(processor, "own_group_name", lambda: "/slice/job")
    assert processor.num_cores() == 3


@pytest.mark.parametrize(("quota", "cores"), [(-1, 64), (400_000, 4)])
def test_version_1_of_control_groups(groups: Path, quota: int, cores: int) -> None:
    (groups / "cpu").mkdir()
    (groups / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (groups / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert processor.num_cores() == cores


@pytest.mark.parametrize(("threads", "processes", "fair"), [(2, 1, None), (3, 1, 2), (2, 2, 1), (1, 5, 1)])
def test_fair_threads(monkeypatch: pytest.MonkeyPatch, threads: int, processes: int, fair: int | None) -> None:
    monkeypatch.setattr(processor, "num_cores", lambda: 2)
    assert processor.fair_threads(threads, processes) == fair
