"""Interruption by SIGINT, SIGTERM or SIGHUP: training stops at the end of the step; at a second SIGINT, at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class StopSignals:
    """A context in which these signals are noted instead of obeyed.

    ``received`` is the first signal's number, or 0. Outside the main thread, where Python allows no handlers,
    nothing is noted.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or number
