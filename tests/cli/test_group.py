"""Errors become messages and exit statuses in one place."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from mtmoe.cli.console import OutputClosed
from mtmoe.cli.group import main

from mtmoe.errors import UserError


@pytest.fixture
def fail() -> Iterator[Callable[[Callable[[], Any]], Result]]:
    """Run a command of the real group that does what it is given."""

    def run(act: Callable[[], Any]) -> Result:
        main.add_command(click.Command("fail", callback=act))
        return CliRunner().invoke(main, ["fail"])

    yield run
    main.commands.pop("fail", None)


def _raiser(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def test_a_users_mistake_is_a_message_without_a_traceback(fail: Any) -> None:
    result = fail(_raiser(UserError("a.en: no such file", fix="did you mean b.en?")))
    assert result.exit_code == 1
    assert result.stderr == "error: a.en: no such file\ndid you mean b.en?\n"
    assert result.stdout == ""


def test_a_path_that_the_system_refuses_is_a_message(fail: Any) -> None:
    result = fail(_raiser(PermissionError(errno.EACCES, "Permission denied", "/somewhere/out")))
    assert result.exit_code == 1
    assert result.stderr == "error: /somewhere/out: Permission denied\n" + (
        "ask for the right to it (ls -ld tells whose it is), or name another\n"
    )


def test_a_full_disk_is_a_message(fail: Any) -> None:
    result = fail(_raiser(OSError(errno.ENOSPC, "No space left on device")))
    assert result.exit_code == 1
    assert result.stderr == "error: cannot write: No space left on device\nmake room, or write to another place\n"


def test_a_full_gpu_is_a_message_that_names_the_settings(fail: Any) -> None:
    import torch

    result = fail(_raiser(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")))
    assert result.exit_code == 1
    assert "error: the device's memory is full: CUDA out of memory. Tried to allocate 2 GiB\n" in result.stderr
    assert "--set training.batch_tokens" in result.stderr


def test_a_defect_of_the_program_is_not_disguised(fail: Any) -> None:
    assert isinstance(fail(_raiser(ValueError("a defect"))).exception, ValueError)
    assert isinstance(fail(_raiser(RuntimeError("a defect"))).exception, RuntimeError)
    assert isinstance(fail(_raiser(OSError("a defect"))).exception, OSError)


def test_ctrl_c_exits_with_130(fail: Any) -> None:
    result = fail(_raiser(KeyboardInterrupt()))
    assert result.exit_code == 130
    assert result.stderr == "interrupted\n"


def test_sigterm_cleans_up_and_exits_with_143(fail: Any) -> None:
    cleaned_up = []

    def act() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            cleaned_up.append(True)

    before = signal.getsignal(signal.SIGTERM)
    result = fail(act)
    assert result.exit_code == 143
    assert result.stderr == "terminated\n"
    assert cleaned_up == [True]
    assert signal.getsignal(signal.SIGTERM) is before


def test_output_that_nobody_reads_ends_the_command_quietly(fail: Any) -> None:
    result = fail(_raiser(OutputClosed()))
    assert result.exit_code == 141
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("closed", "status", "output"),
    [("<&-", 0, "training.max_steps"), ("2>&-", 0, "training.max_steps"), (">&-", 141, "")],
)
def test_a_standard_stream_that_was_closed_before_the_start_is_no_traceback(
    closed: str, status: int, output: str
) -> None:
    command = f"{shlex.quote(sys.executable)} -m mtmoe settings {closed}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert result.returncode == status
    assert output in result.stdout
    assert result.stderr == ""


def test_translating_nothing_from_a_closed_input_gives_nothing(tiny_run: Any) -> None:
    command = f"{shlex.quote(sys.executable)} -m mtmoe translate {shlex.quote(str(tiny_run.run))} --device cpu <&-"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 8.00 EiB for an array"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("could not create a memory object"),
        RuntimeError("can't start new thread"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ],
    ids=lambda error: str(error)[:30],
)
def test_too_little_memory_is_a_message_with_what_was_said_and_the_settings(fail: Any, error: Exception) -> None:
    result = fail(_raiser(error))
    assert result.exit_code == 1
    problem, fix = result.stderr.splitlines()
    assert problem.startswith("error: not enough memory")
    assert str(error)[:30] in problem
    assert "training.batch_tokens" in fix
    assert "--beam" in fix


def test_an_address_space_that_is_too_small_for_the_libraries_is_told_before_they_crash() -> None:
    command = f"ulimit -v 400000; {shlex.quote(sys.executable)} -m mtmoe settings"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "error: not enough memory: the address space of this process is limited to 0.41 GB, and its libraries need "
        "1.07 GB\nallow more: ulimit -v unlimited\n"
    )


def test_wrong_usage_is_told_harmlessly_and_with_what_is_near() -> None:
    for arguments, told in (
        (["transalte"], "Did you mean 'translate'?"),
        (["\x1b[31m"], "\\x1b[31m"),
        (["translate", "run", "--beam", "\x1b[31mz"], "\\x1b[31mz"),
        (["translate", "run", "--baem", "3"], "--beam"),
        (["translate"], "Missing argument 'RUN'"),
    ):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2
        assert "Usage: " in result.stderr
        assert told in result.stderr
        assert "\x1b" not in result.stderr
