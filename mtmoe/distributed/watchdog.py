"""Watchdog that says who keeps the others waiting.

A thread in every process tells the others what its process is doing, and, where that is waiting for too long, asks them
the same.

It ends nothing: the collective that waits in vain fails a little later by the timeout of its process group. On a GPU
the host runs ahead of the device, so that what is named there is what the host has issued or waits for.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import torch.distributed as dist

from mtmoe.distributed.collective_log import Activity, CollectiveLog

_LONGEST_PERIOD_SECONDS = 10.0


class Watchdog:
    """A context in which this process is watched."""

    def __init__(
        self,
        log: CollectiveLog,
        rank: int,
        size: int,
        store: dist.Store,
        timeout_seconds: float,
        tell: Callable[[str], None],
    ) -> None:
        """Set what is watched; ``tell`` is called in the thread of one of the processes that wait."""
        self._log, self._rank, self._size, self._store = log, rank, size, store
        self._timeout_seconds, self._tell = timeout_seconds, tell
        self._period_seconds = min(_LONGEST_PERIOD_SECONDS, timeout_seconds / 10)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="mtmoe-watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        if self._size > 1:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(self._period_seconds)

    def _watch(self) -> None:
        told: Activity | None = None
        while not self._over.wait(self._period_seconds):
            now = self._log.now
            try:
                self._store.set(f"{self._rank}", json.dumps(_spoken(now)))
                if now.waits and now.seconds > self._timeout_seconds and now != told and self._report(now):
                    told = now
            except RuntimeError:
                return  # whoever kept the store is gone, and with it the job

    def _report(self, now: Activity) -> bool:
        others = {rank: self._of(rank) for rank in range(self._size) if rank != self._rank}
        text = report(self._rank, now, others, self._timeout_seconds)
        if not text:
            return False
        self._log.report = text
        waiting = [rank for rank, other in others.items() if other is not None and other["number"] >= now.number]
        if self._rank < min(waiting, default=self._size):
            self._tell(text)
        return True

    def _of(self, rank: int) -> dict[str, Any] | None:
        """Return what another process has said last; None before it has said anything."""
        if not self._store.check([f"{rank}"]):
            return None
        result: dict[str, Any] | None = json.loads(self._store.get(f"{rank}"))
        return result


def report(rank: int, now: Activity, others: dict[int, dict[str, Any] | None], timeout_seconds: float) -> str:
    """Return who has not come to where this process waits; "" where the main process is only busy with what may take
    long."""
    beginning = f"process {rank} has waited {now.seconds:.0f} s in step {now.step} for {now.what}"
    behind = {r: other for r, other in others.items() if other is None or other["number"] < now.number}
    if not behind:
        return f"{beginning}, and all others have come: the connection between them, or a disk, does not answer"
    if all(other and other["is_long"] and _silent_seconds(other) < timeout_seconds for other in behind.values()):
        return ""
    return f"{beginning}, where these have not come: {'; '.join(_told(r, other) for r, other in behind.items())}"


def _spoken(now: Activity) -> dict[str, Any]:
    return {
        "number": now.number,
        "step": now.step,
        "what": now.what,
        "is_long": now.is_long,
        "seconds": now.seconds,
        "told_at": time.time(),
        "process": f"{socket.gethostname()}, pid {os.getpid()}",
    }


def _told(rank: int, other: dict[str, Any] | None) -> str:
    if other is None:
        return f"process {rank} has never been heard of"
    return (
        f"process {rank} ({other['process']}), which {_silent_seconds(other):.0f} s ago was in step {other['step']} "
        f"{other['what']} for {other['seconds']:.0f} s"
    )


def _silent_seconds(other: dict[str, Any]) -> float:
    seconds: float = time.time() - other["told_at"]
    return seconds
