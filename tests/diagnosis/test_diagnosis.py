"""`mtmoe doctor`: what is in order, and every failure that can be faked, without a traceback."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner, Result
from mtmoe.cli import main

from mtmoe.diagnosis import directory, hardware, processes, software
from mtmoe.diagnosis.check import Check, run_check
from mtmoe.diagnosis.examination import examine
from mtmoe.system import cpu_cores as processor
from tests.distributed.processes.commands import invoke_in_group
from tests.paths import ROOT


@pytest.fixture(autouse=True)
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which this one's threads, disk and torchrun play no part."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(directory, "WRITTEN_BYTES", 1 << 20)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))


def doctor(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, ["doctor", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.stderr
    return result


def found(result: Result, name: str) -> Check:
    (report,) = json.loads(result.stdout)["reports"]
    (check,) = (check for check in report["checks"] if check["name"] == name)
    return Check(**check)


def test_a_machine_in_order_is_a_table_and_the_exit_status_0(tmp_path: Path) -> None:
    result = doctor(tmp_path)
    assert result.exit_code == 0, result.stderr
    for name in (
        "Python",
        "torch",
        "text",
        "processor",
        "compiled search",
        "threads",
        "GPUs",
        "disk",
        "writing",
        "locks",
        "open files",
    ):
        assert re.search(rf"^\S+ +{name} ", result.stdout, re.MULTILINE) or name == "GPUs", name
    assert "training.precision = auto is " in result.stdout


def test_json_has_every_check_and_a_directory_that_is_not_there_is_looked_at_where_it_would_be(tmp_path: Path) -> None:
    result = doctor(tmp_path / "not" / "there", "--json")
    assert json.loads(result.stdout)["is_healthy"] is True
    assert found(result, "disk").found.endswith(f"free at {tmp_path}")
    assert not (tmp_path / "not").exists()
    assert not list(tmp_path.iterdir()), "what was written to measure is gone"


# ----------------------------------------------------------------------------------------------- software


def test_a_missing_package_is_an_error_with_the_command_that_installs_it(monkeypatch, tmp_path) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "sentencepiece":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    result = doctor(tmp_path)
    assert result.exit_code == 1
    assert "sentencepiece: not installed\npip install 'sentencepiece>=0.2'" in result.stderr


def test_old_versions_are_errors_and_other_ones_are_told(monkeypatch) -> None:
    versions = {name: tested for name, (_, tested) in software.PACKAGES.items()}
    monkeypatch.setattr(metadata, "version", versions.__getitem__)
    assert {check.state for check in software.packages()} == {"ok"}
    versions |= {"torch": "2.9.1+cu128", "numpy": "2.0.0"}
    checks = {check.name: check for check in software.packages()}
    assert checks["torch"].state == "error"
    assert checks["torch"].found == "2.9.1+cu128, older than 2.11"
    assert checks["numpy"] == Check("numpy", "ok", "2.0.0 (tests and results were made with 2.4.6)")


def test_the_versions_are_those_of_pyproject_and_constraints() -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = dict(line.partition(",")[0].split(">=") for line in dependencies)
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert {name: (least, pins[name]) for name, least in wanted.items()} == software.PACKAGES
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"] == ">=3.11"
    assert software.LEAST_PYTHON == (3, 11)


def test_an_old_python_is_an_error(monkeypatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 4, "final", 0))
    (check,) = software.python()
    assert (check.state, check.found) == ("error", "3.10.4")


def test_a_torch_that_cannot_be_imported_is_one_error_and_the_rest_is_looked_at(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    result = doctor(tmp_path, "--json")
    assert result.exit_code == 1
    assert found(result, "import torch").found.startswith("ModuleNotFoundError: import of torch halted")
    assert found(result, "disk").state in ("ok", "warning")
    assert "GPUs" not in result.stdout


def test_text_that_is_not_utf_8_is_an_error(monkeypatch) -> None:
    monkeypatch.setattr("locale.getpreferredencoding", lambda _: "ANSI_X3.4-1968")
    (check,) = software.text()
    assert check.state == "error"
    assert "export LC_ALL=C.UTF-8" in check.advice


def test_what_looking_raises_is_an_error_of_its_name() -> None:
    def look() -> list[Check]:
        raise RuntimeError("no such thing\nand more")

    (check,) = run_check("clocks", look)
    assert check[:3] == ("clocks", "error", "could not be looked at: RuntimeError: no such thing")


# ----------------------------------------------------------------------------------------------- hardware


def test_more_threads_than_cores_and_one_thread_of_many_cores_are_warnings(monkeypatch) -> None:
    monkeypatch.setattr(hardware, "num_cores", lambda: 8)
    monkeypatch.setattr(processor, "num_cores", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert next(hardware.threads()).state == "ok"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert next(hardware.threads())[3] == "threads wait for each other: export OMP_NUM_THREADS=2"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert next(hardware.threads()).advice.startswith("one core is used: export OMP_NUM_THREADS=8")


def test_threads_for_all_cores_beside_other_work_are_a_warning(monkeypatch) -> None:
    monkeypatch.setattr(hardware, "num_cores", lambda: 8)
    monkeypatch.setattr(processor, "num_cores", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(os, "getloadavg", lambda: (5.2, 1.0, 1.0))
    check = next(hardware.threads())
    assert check.state == "warning"
    assert "5.2 of the cores were busy" in check[2]
    assert "OMP_NUM_THREADS=2 " in check.advice
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert next(hardware.threads()).state == "ok"


def fake_gpus(monkeypatch, *gpus: SimpleNamespace) -> dict[str, Check]:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(gpus))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: gpus[number])
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_90a"])
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: False)
    return {check.name: check for check in hardware.gpus()}


def gpu(name: str, gib: int, major: int, minor: int) -> SimpleNamespace:
    return SimpleNamespace(name=name, total_memory=gib << 30, major=major, minor=minor)


def test_gpus_are_told_with_memory_and_arithmetic_and_old_or_small_ones_are_named(monkeypatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "5")
    cards = (gpu("H100", 80, 9, 0), gpu("T4", 16, 7, 5), gpu("K40", 12, 3, 5), gpu("A2", 2, 8, 6))
    checks = fake_gpus(monkeypatch, *cards)
    assert checks["GPU 0"] == Check("GPU 0", "ok", "H100, 80.0 GiB, compute capability 9.0, bf16")
    assert checks["GPU 1"].found.endswith("no bf16: training.precision = auto is fp32")
    assert checks["GPU 2"].state == "error"
    assert "needs compute capability 7.5" in checks["GPU 2"].advice
    assert checks["GPU 3"].state == "warning"
    assert checks["NCCL"].state == "error"
    assert checks["processes"][1:] == ("error", "5 on this machine for 4 GPUs", "torchrun --nproc-per-node 4")


def test_a_search_that_is_not_compiled_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    [check] = hardware.compiled_search()
    assert check.state == "ok"
    assert check.found in {
        "kernels for avx512 processors",
        "kernels for avx2 processors",
        "kernels for plain processors",
    }
    monkeypatch.setattr("mtmoe.inference.compiled.library.best_family", lambda: None)
    [check] = hardware.compiled_search()
    assert check.state == "warning"
    assert "C++ compiler" in check.advice


@pytest.mark.parametrize(("cuda", "advice"), [(None, "for processors alone"), ("13.0", "the driver may be too old")])
def test_gpus_of_the_driver_that_torch_cannot_use_are_an_error(monkeypatch, tmp_path, cuda, advice) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf 'GPU 0: A\\nGPU 1: B\\n'\n")
    program.chmod(0o755)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(shutil, "which", lambda _: str(program))
    (check,) = hardware.gpus()
    assert (check.state, check.found) == ("error", "the driver has 2, torch can use none")
    assert advice in check.advice


# ---------------------------------------------------------------------------------------------- directory


@pytest.mark.parametrize(("free", "state"), [(1e8, "error"), (5e9, "warning"), (1e12, "ok")])
def test_little_room_is_told(monkeypatch, tmp_path, free: float, state: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=int(free)))
    (check,) = directory.free_space(tmp_path)
    assert check.state == state


def test_a_slow_disk_one_that_cannot_be_written_and_a_file_in_the_way_are_told(monkeypatch, tmp_path) -> None:
    assert next(directory.writing_speed(tmp_path)).name == "writing"
    monkeypatch.setattr(directory, "SLOW_BYTES_PER_SECOND", 1e15)
    assert next(directory.writing_speed(tmp_path)).state == "warning"

    def refused(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(directory.tempfile, "NamedTemporaryFile", refused)
    (check,) = directory.writing_speed(tmp_path)
    assert (check.state, check.found) == ("error", f"{tmp_path}: Permission denied")
    (tmp_path / "file").touch()
    assert next(directory.free_space(tmp_path / "file")).found == f"{tmp_path / 'file'} is a file"


def test_a_file_system_without_locks_is_a_warning(monkeypatch, tmp_path) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    (check,) = directory.locks(tmp_path / "not" / "there")
    assert (check.state, check.found) == ("warning", f"none at {tmp_path}")
    assert "no second process" in check.advice


def test_few_open_files_are_a_warning_with_the_command(monkeypatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    assert next(directory.open_files()) == Check(
        "open files", "warning", "256 at once, at most 1,024", "ulimit -n 1024"
    )


# ---------------------------------------------------------------------------------------------- processes


def report(host: str, rank: int, torch_version: str = "2.13.0") -> processes.Report:
    return processes.Report(host, rank, 0, [Check("torch", "ok", torch_version)])


def test_other_software_on_a_node_is_an_error() -> None:
    (same,) = processes._same_software([report("a", 0), report("b", 1)])
    assert same.state == "ok"
    (other,) = processes._same_software([report("a", 0), report("b", 1, "2.12.0")])
    assert (other.state, other.found) == ("error", "a: torch 2.13.0 | b: torch 2.12.0")


@pytest.mark.parametrize(("skew", "state"), [(0.1, "ok"), (3.0, "warning"), (-60.0, "error")])
def test_clocks_that_differ_are_told(monkeypatch, skew: float, state: str) -> None:
    """What a process waits for the others is no skew: the best of several rounds counts."""
    rounds = iter([0.7, 0.0, 0.4, 0.9, 0.2])
    monkeypatch.setattr(torch.distributed, "barrier", lambda: None)
    monkeypatch.setattr(
        processes, "all_gather_json", lambda now: [now, now + skew + next(rounds) * (1 if skew > 0 else -1)]
    )
    (check,) = processes._clocks([report("a", 0), report("b", 1)])
    assert check.state == state
    assert check.found == f"at most {abs(skew):.2f} s apart (b from a)"


def test_a_directory_that_another_node_does_not_see_is_an_error(monkeypatch, tmp_path) -> None:
    answers = iter([lambda told: [told, told], lambda sees: [sees, False]])
    monkeypatch.setattr(processes, "all_gather_json", lambda value: next(answers)(value))
    (check,) = processes._shared_files(tmp_path, report("a", 0), [report("a", 0), report("b", 1)])
    assert (check.state, check.found) == ("error", f"{tmp_path} of b is not that of a")
    assert not list(tmp_path.iterdir())


def test_a_process_that_finds_nobody_says_so_for_itself(monkeypatch, tmp_path) -> None:
    def in_vain(*arguments, **options):
        raise RuntimeError("timed out after 60 s")

    for name, value in {
        "RANK": "1",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "node1",
        "MASTER_PORT": "29500",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.distributed, "init_process_group", in_vain)
    examination = examine(tmp_path)
    assert examination.is_main
    assert not examination.is_healthy
    (check,) = examination.together
    assert check.found == "process 1 does not find the others at node1:29500: timed out after 60 s"
    assert "GLOO_SOCKET_IFNAME" in check.advice


def test_of_several_processes_the_main_one_tells_of_all(tmp_path) -> None:
    first, other = invoke_in_group(2, "doctor", tmp_path / "run", "--json")
    assert (first.status, other.status, other.output) == (0, 0, ""), first.talk + other.talk
    examination = json.loads(first.output)
    assert len(examination["reports"]) == 1, "one for the machine"
    assert [check["name"] for check in examination["together"]] == ["same software", "shared files", "clocks"]
    assert {check["state"] for check in examination["together"]} == {"ok"}
    assert "all 2 processes see the same" in examination["together"][1]["found"]
