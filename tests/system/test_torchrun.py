"""The environment of processes that torchrun starts, and what others put there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mtmoe.config import load_recipe
from mtmoe.distributed.mesh import joined_processes
from mtmoe.errors import UserError
from mtmoe.system.torchrun import Place, check_master_address, place_of_process
from tests import forked

_RIGHT = {
    "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _launched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _RIGHT.items():
        monkeypatch.setenv(name, value)


def test_the_place_of_a_process_is_what_torchrun_says() -> None:
    assert place_of_process() == Place(1, 2, 1, 2)


def test_without_torchrun_a_process_is_the_first_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _RIGHT:
        monkeypatch.delenv(name)
    assert place_of_process() == Place(0, 1, 0, 1)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"RANK": "abc"}, "RANK = 'abc' in the environment: is not a whole number from 0"),
        ({"RANK": ""}, "RANK = ''"),
        ({"RANK": "-1"}, "RANK = '-1'"),
        ({"RANK": "1e3"}, "RANK = '1e3'"),
        ({"RANK": "9" * 5000}, "RANK = '999"),
        ({"RANK": "٣"}, "RANK = '٣'"),
        ({"RANK": "5"}, "RANK = 5 and WORLD_SIZE = 2"),
        ({"RANK": "0", "WORLD_SIZE": "0"}, "WORLD_SIZE = '0' in the environment: is not a whole number from 1"),
        ({"LOCAL_RANK": "-1"}, "LOCAL_RANK = '-1'"),
        ({"LOCAL_RANK": "2"}, "LOCAL_RANK = 2 and WORLD_SIZE = 2"),
        ({"LOCAL_WORLD_SIZE": "1"}, "LOCAL_RANK = 1 and LOCAL_WORLD_SIZE = 1"),
        ({"LOCAL_WORLD_SIZE": "3"}, "LOCAL_WORLD_SIZE = 3 and WORLD_SIZE = 2"),
        ({"LOCAL_WORLD_SIZE": "x"}, "LOCAL_WORLD_SIZE = 'x'"),
        ({"MASTER_PORT": "99999"}, "MASTER_PORT = '99999' in the environment: is not a whole number from 1 to 65535"),
        ({"MASTER_PORT": "0"}, "MASTER_PORT = '0'"),
        ({"MASTER_ADDR": "no such machine"}, "MASTER_ADDR = 'no such machine' in the environment: no machine"),
        ({"MASTER_ADDR": "a" * 300}, "MASTER_ADDR = 'aaa"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_is_told_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], told: str
) -> None:
    for name, value in changed.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as caught:
        (place_of_process(), check_master_address())
    assert caught.value.problem.startswith(told)
    assert "torchrun" in caught.value.fix


def test_the_doctor_tells_it_as_a_check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from mtmoe.diagnosis.examination import examine

    monkeypatch.setenv("RANK", "5")
    examination = examine(tmp_path)
    assert examination.is_main
    assert [check.found for check in examination.together if check.name == "processes"] == [
        "RANK = 5 and WORLD_SIZE = 2 in the environment: processes are numbered from 0 to WORLD_SIZE - 1 = 1"
    ]


def _join() -> None:
    try:
        with joined_processes(load_recipe("demo"), torch.device("cpu")):
            pass
    except UserError as error:
        print(error)


def test_a_port_that_is_taken_is_told_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        changed = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "MASTER_PORT": port}
        done = forked.run(_join, environment=os.environ | changed)
    assert done.status == 0, done.stderr
    assert f"MASTER_PORT = {port}: " in done.stdout
    assert "--master-port" in done.stdout


def test_processes_that_do_not_come_are_waited_for_as_long_as_the_setting_says() -> None:
    program = (
        "import torch\nfrom mtmoe.config import load_recipe\nfrom mtmoe.distributed.mesh import joined_processes\n"
        "from mtmoe.errors import UserError\n"
        "recipe = load_recipe('demo', ['training.distributed.collective_timeout_seconds=1'])\n"
        "try:\n    with joined_processes(recipe, torch.device('cpu')): pass\n"
        "except UserError as error:\n    print(error)\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    changed = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | changed, capture_output=True, text=True, timeout=240
    )  # torch's own patience is 300 s
    assert done.returncode == 0, done.stderr
    assert "1/2 clients joined" in done.stdout
