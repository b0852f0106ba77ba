"""Processes that start at once: forked from one that has imported torch and mtmoe, and has used no thread of theirs.

``python -m mtmoe`` takes two seconds of a core before it begins; a :class:`Command` takes some milliseconds, and is a
process like it: with streams, exit status and signals of its own. Only what Python reads when it starts is that of the
tests: its options, and the variables of its environment that are read then.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

MOST_SECONDS = 600.0
CONTEXT = multiprocessing.get_context("forkserver")
# torch._dynamo is what the first optimizer imports.
CONTEXT.set_forkserver_preload(
    [
        "torch._dynamo",
        "numpy.random",
        "mtmoe.cli.group",
        "mtmoe.data.prepared.preparation",
        "mtmoe.filtering.filter_corpus",
        "mtmoe.inference.translator",
        "mtmoe.synthesis.synthesise",
        "mtmoe.training.trainer",
        "tests.distributed.processes.workers",
    ]
)


class Ended(NamedTuple):
    """What a command has done. status: negative for the signal that killed it."""

    status: int
    stdout: str
    stderr: str


class Command:
    """`mtmoe` at work with these arguments, in the tests' working directory."""

    def __init__(
        self,
        *arguments: object,
        stdin: str | os.PathLike[str] = os.devnull,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it, and wait until it has taken signals in hand. ``environment`` is in place of the tests'."""
        self._outputs = tempfile.TemporaryDirectory()
        streams = [os.fspath(stdin), *(str(path) for path in self._paths())]
        begun, theirs = CONTEXT.Pipe(duplex=False)
        words, variables = [str(argument) for argument in arguments], dict(environment or os.environ)
        self._process = CONTEXT.Process(target=_become_command, args=(theirs, words, streams, variables))
        self._process.start()
        theirs.close()
        with contextlib.suppress(EOFError):  # it has ended already
            begun.recv()
        begun.close()

    def _paths(self) -> tuple[Path, Path]:
        return Path(self._outputs.name, "stdout"), Path(self._outputs.name, "stderr")

    def is_alive_after(self, seconds: float) -> bool:
        """Wait for its end, but not longer; return whether it is still at work."""
        self._process.join(seconds)
        return self._process.is_alive()

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def end(self) -> Ended:
        """Wait for its end and return what became of it.

        Raises:
            subprocess.TimeoutExpired: it does not end, and was killed.
        """
        if self.is_alive_after(MOST_SECONDS):
            self._process.kill()
            self._process.join()
            raise subprocess.TimeoutExpired("mtmoe", MOST_SECONDS, *(path.read_bytes() for path in self._paths()))
        status = self._process.exitcode
        assert status is not None
        output, talk = (path.read_text(encoding="utf-8", errors="replace") for path in self._paths())
        self._outputs.cleanup()
        return Ended(status, output, talk)


def run_command(*arguments: object, **more: Any) -> Ended:
    """Run `mtmoe` to its end. ``more``: of :class:`Command`."""
    return Command(*arguments, **more).end()


def call(function: Callable[..., object], *arguments: Any) -> int:
    """Call a function of a module in a process of its own, and return its exit status; negative for a signal."""
    process = CONTEXT.Process(target=function, args=arguments)
    process.start()
    process.join(MOST_SECONDS)
    status = process.exitcode
    process.kill()
    assert status is not None, f"{function.__name__} does not end"
    return status


def _become_command(begun: Connection, words: list[str], streams: list[str], environment: dict[str, str]) -> None:
    for number, path in enumerate(streams):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = (
        io.TextIOWrapper(open(number, mode, closefd=False), "utf-8", errors, line_buffering=number == 2)  # noqa: SIM115
        for number, mode, errors in (
            (0, "rb", "surrogateescape"),
            (1, "wb", "strict"),
            (2, "wb", "backslashreplace"),
        )
    )
    os.environ.clear()
    os.environ.update(environment)
    if threads := environment.get("OMP_NUM_THREADS"):
        import torch

        torch.set_num_threads(int(threads))
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as `python -m mtmoe` begins
    sys.argv = ["mtmoe", *words]
    from mtmoe.cli import run

    threading.Thread(target=_tell_that_signals_are_in_hand, args=(begun,), daemon=True).start()
    run()


def _tell_that_signals_are_in_hand(begun: Connection) -> None:
    while signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        time.sleep(0.001)
    begun.send(None)
    begun.close()
