"""Memory trimming: memory that is of no more use, but is kept, goes back to the system.

Searches run in threads, each with an arena of malloc's own, and hold tensors of ever other sizes. What is freed between
two that are in use stays with the arena: the resident memory of a long translation creeps upwards, although nothing is
kept (figures in docs/benchmarks/lab_book.md). (What oneDNN keeps
of each shape of a product is limited by `mtmoe.system.process_settings`.)
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable

_SENTENCES_BETWEEN = 256  # a second of translation or more, against milliseconds


class MemoryTrimming:
    """Gives it back now and then; a single line on a pipe does not wait for it."""

    def __init__(self) -> None:
        self._num_sentences = 0
        self._lock = threading.Lock()

    def translated(self, num_sentences: int) -> None:
        """Count so many more as done, and what was needed for them is freed."""
        with self._lock:
            self._num_sentences += num_sentences
            is_due = self._num_sentences >= _SENTENCES_BETWEEN
            if is_due:
                self._num_sentences = 0
        if is_due and (trim := malloc_trim()) is not None:
            trim(0)


def malloc_trim() -> Callable[[int], int] | None:
    """Return the C library's function that does it, for all arenas; None where there is none (musl, macOS, Windows)."""
    try:
        function = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    function.argtypes, function.restype = [ctypes.c_size_t], ctypes.c_int
    return function
