"""Launch by torchrun: what this process knows of the job that has started it, and may start others in its place.

Which job it is: the workers that it starts anew after a failure belong to the same.

TORCHELASTIC_RESTART_COUNT does not tell: it stays 0 where workers are started anew because a node has come or gone,
and is above 0 where the first ones failed because their run directory held another run already.
"""

from __future__ import annotations

import os
import socket
import time
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

_CONNECTION_TIMEOUT = timedelta(seconds=3)
_NO_ID = "none"  # what torchrun calls a job without --rdzv-id


def launch_name() -> str:
    """Return a name that all workers of one torchrun job have in common, now and after restarts; "" without torchrun.

    It is the id of the rendezvous. A job without one is known by the torchrun process of the main worker, which stays
    the same as long as the main worker stays on its node.
    """
    job = os.environ.get("TORCHELASTIC_RUN_ID", "")
    return f"{socket.gethostname()} {os.getppid()} {_start_of(os.getppid())}" if job == _NO_ID else job


def _start_of(process: int) -> str:
    """Return when a process began, in ticks since the machine did: numbers of processes are used again."""
    try:
        # The second field is a name in parentheses, which may hold anything.
        return (
            Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
        )
    except OSError:
        return ""


def store_of_processes(rank: int, timeout_seconds: float) -> dist.Store:
    """Open a key-value store of the processes that were started together, and of no others.

    torchrun's own outlives them: where it starts workers anew they find there what those before have left, such as
    addresses at which nobody listens any more. So the main process has one, and says in torchrun's where. Who finds the
    address of a main process that is gone asks again.

    Raises:
        RuntimeError: the main process has not come in time.
    """
    common: dist.Store = next(rendezvous("env://", timeout=timedelta(seconds=timeout_seconds)))[0]
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return common  # it is the main process's already
    host = os.environ["MASTER_ADDR"]  # of the main process's node
    if rank == 0:
        store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False)
        common.set("mtmoe/port", str(store.port))
    else:
        store = _store_of_main(common, host, time.monotonic() + timeout_seconds)
    store.set_timeout(timedelta(seconds=timeout_seconds))
    return store


def _store_of_main(common: dist.Store, host: str, give_up_at: float) -> dist.TCPStore:
    while True:
        port = int(common.get("mtmoe/port"))
        try:
            return dist.TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=_CONNECTION_TIMEOUT)
        except RuntimeError:
            if time.monotonic() > give_up_at:
                raise
