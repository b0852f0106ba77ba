"""Groups of processes on this machine, as torchrun starts them, for a test; one that hangs fails."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Any

from tests import forked

TIMEOUT_SECONDS = 240  # far more than any needs on an idle machine


def run_group(num_processes: int, function: Callable[..., Any], *arguments: Any, timeout: float = 0.0) -> list[Any]:
    """What ``function(*arguments)`` returns in each process; numbers and NumPy arrays, not tensors.

    Raises:
        AssertionError: with the trace of a process that failed, or because not all ended in time.
    """
    pipes, processes = start_group(num_processes, function, *arguments)
    try:
        return _results(pipes, time.monotonic() + (timeout or TIMEOUT_SECONDS))
    finally:
        for process in processes:
            process.kill()
            process.join()


def start_group(
    num_processes: int, function: Callable[..., Any], *arguments: Any
) -> tuple[list[Connection], list[ForkServerProcess]]:
    """The processes, and where each will put what it returns."""
    port, context = _free_port(), forked.context()
    pipes, processes = [], []
    for rank in range(num_processes):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(sender, rank, num_processes, port, function, arguments))
        process.start()
        sender.close()
        pipes.append(receiver)
        processes.append(process)
    return pipes, processes


def _free_port() -> int:
    """Not from where the system takes ports for connections: between here and its use it would give it away."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port


def _results(pipes: list[Connection], deadline: float) -> list[Any]:
    results: dict[int, Any] = {}
    while len(results) < len(pipes):
        waiting = [pipe for rank, pipe in enumerate(pipes) if rank not in results]
        ready = wait(waiting, timeout=max(0.0, deadline - time.monotonic()))
        assert ready, f"{len(waiting)} of {len(pipes)} processes have not ended: a hang"
        for pipe in ready:
            rank = pipes.index(pipe)  # type: ignore[arg-type]
            try:
                failure, results[rank] = pipe.recv()  # type: ignore[union-attr]
            except EOFError:
                failure = "it died"
            assert not failure, f"process {rank}: {failure}"
    return [results[rank] for rank in range(len(pipes))]


def _run(
    sender: Connection, rank: int, size: int, port: int, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    try:
        sender.send(("", function(*arguments)))
    except BaseException:
        with contextlib.suppress(OSError):  # nobody may be listening any more
            sender.send((traceback.format_exc(), None))
