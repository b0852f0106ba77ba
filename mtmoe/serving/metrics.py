"""Metrics of a server, in the text format of Prometheus. They hold no text and no addresses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from mtmoe.inference.engine import Listener

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_STEP_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
_LINES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics(Listener):
    """Counts of one server, in a registry of its own."""

    def __init__(self, num_waiting: Callable[[], int] = lambda: 0) -> None:
        """Begin to count. ``num_waiting``: returns how many lines wait now."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        made: dict[str, Any] = {"registry": self._registry, "namespace": "mtmoe"}
        self._requests = Counter("requests", "Requests by interface and HTTP status.", ["interface", "status"], **made)
        self._seconds = Histogram(
            "request_seconds", "Time from a request to its answer.", ["interface"], buckets=_SECONDS, **made
        )
        self._lines = Counter("lines", "Lines asked for, by direction.", ["direction"], **made)
        self._characters = Counter("characters", "Characters of these lines.", ["direction"], **made)
        self._dropped = Counter("dropped_lines", "Lines that were accepted and not translated.", ["reason"], **made)
        self._step_lines = Histogram("step_lines", "Lines of a step of a search.", ["run"], buckets=_LINES, **made)
        self._step_seconds = Histogram(
            "step_seconds", "Time of a step of a search.", ["run"], buckets=_STEP_SECONDS, **made
        )
        waiting = Gauge("waiting_lines", "Lines that no search has taken yet.", **made)
        waiting.set_function(lambda: float(num_waiting()))
        Gauge("start_time_seconds", "When the server began, in seconds since 1970.", **made).set(time.time())

    def request_done(self, interface: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(interface, str(status)).inc()
        self._seconds.labels(interface).observe(seconds)

    def lines_asked(self, direction: str, num_lines: int, num_characters: int) -> None:
        """Count lines that were accepted."""
        self._lines.labels(direction).inc(num_lines)
        self._characters.labels(direction).inc(num_characters)

    def step_done(self, run: str, num_lines: int, seconds: float) -> None:
        self._step_lines.labels(run).observe(num_lines)
        self._step_seconds.labels(run).observe(seconds)

    def lines_dropped(self, reason: str, num_lines: int) -> None:
        self._dropped.labels(reason).inc(num_lines)

    def text(self) -> bytes:
        """Return everything in the text format."""
        return generate_latest(self._registry)
