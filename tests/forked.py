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
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext, ForkServerContext
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from tests.paths import ROOT

MOST_SECONDS = 600.0
_CONTEXT = multiprocessing.get_context("forkserver")
# torch._dynamo is what the first optimizer imports.
_CONTEXT.set_forkserver_preload(
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


# Threads that wait for each other sleep: where there are more of them than cores they would spin for minutes.
_ENVIRONMENT = {**os.environ, "OMP_WAIT_POLICY": "passive"}


def context() -> ForkServerContext:
    """Return the context of :mod:`multiprocessing` whose processes are forked.

    The process that they are forked from starts with the first, in the environment and the directory that the tests
    started in, whatever the test that needs it has changed.
    """
    changed = dict(os.environ)
    os.environ.clear()
    os.environ.update(_ENVIRONMENT)
    try:
        with contextlib.chdir(ROOT):
            forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(changed)
    return _CONTEXT


_get_context = multiprocessing.get_context


def get_context(method: str | None = None) -> BaseContext:
    """Return what :func:`multiprocessing.get_context` does, but for "spawn" the context whose processes are forked.

    With it, workers of the code under test begin at once, too. Those of a program that a test starts are its own.
    """
    return context() if method == "spawn" else _get_context(method)


class Ended(NamedTuple):
    """What a process has done. status: negative for the signal that killed it."""

    status: int
    stdout: str
    stderr: str


class Process:
    """A function at work in a process of its own, in the tests' working directory.

    What it returns is the exit status, if it is a number; what it raises is written as Python writes it.
    """

    def __init__(
        self,
        function: Callable[..., object],
        *arguments: object,
        stdin: str | os.PathLike[str] = os.devnull,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it. ``function`` is found by its name; ``environment`` is in place of the tests'."""
        self._name, self._outputs = function.__name__, tempfile.TemporaryDirectory()
        streams = [os.fspath(stdin), *(str(path) for path in self._paths())]
        call = (function, arguments, streams, dict(environment or os.environ))
        self._process = context().Process(target=_begin, args=call)
        self._process.start()

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
            raise subprocess.TimeoutExpired(self._name, MOST_SECONDS, *(path.read_bytes() for path in self._paths()))
        status = self._process.exitcode
        assert status is not None
        output, talk = (path.read_text(encoding="utf-8", errors="replace") for path in self._paths())
        self._outputs.cleanup()
        return Ended(status, output, talk)


class Command(Process):
    """`mtmoe` at work with these arguments. It has taken signals in hand."""

    def __init__(self, *arguments: object, **more: Any) -> None:
        """Start it. ``more``: of :class:`Process`."""
        begun, theirs = context().Pipe(duplex=False)
        super().__init__(_command, theirs, [str(argument) for argument in arguments], **more)
        theirs.close()
        with contextlib.suppress(EOFError):  # it has ended already
            begun.recv()
        begun.close()


def run(function: Callable[..., object], *arguments: Any, **more: Any) -> Ended:
    """Call a function in a process of its own, to its end. ``more``: of :class:`Process`."""
    return Process(function, *arguments, **more).end()


def run_command(*arguments: object, **more: Any) -> Ended:
    """Run `mtmoe` to its end. ``more``: of :class:`Process`."""
    return Command(*arguments, **more).end()


def _begin(
    function: Callable[..., object], arguments: tuple[Any, ...], streams: list[str], environment: dict[str, str]
) -> None:
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
    status = function(*arguments)
    sys.exit(status if isinstance(status, int) else 0)


def _command(begun: Connection, words: list[str]) -> NoReturn:
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
