"""Thread pool for independent pieces of one operation on a CPU; each thread computes its pieces alone.

Many operations of middling size gain little from threads within each: between two of them all wait for the last. Pieces
side by side wait once, and one thread's copies hide behind another's products. (torch lets go of Python's lock in
every operation.)
"""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")

MOST_THREADS = 8  # Python's part of the pieces is done by one thread at a time; more have not been measured


def share_work(pieces: list[T], work: Callable[[Iterator[T]], None]) -> None:
    """Share pieces out to threads: ``work`` goes through those that it is given and writes each result to a place of
    its own.

    It is called once in this thread. Where torch has 2 to ``MOST_THREADS`` threads here, and there are two pieces or
    more for each, it is also called in so many others, less this one; all take from one iterator, and torch computes
    with one thread in each of them. (A thread that uses torch for the first time meanwhile has one for good.)

    An error of any of them is raised here, after all have stopped; no piece is begun after it.
    """
    num_threads, shared = torch.get_num_threads(), iter(pieces)
    if not 2 <= num_threads <= MOST_THREADS or len(pieces) < 2 * num_threads:
        work(shared)
        return
    is_inference = torch.is_inference_mode_enabled()

    def take_part() -> None:
        try:
            work(shared)
        finally:  # nothing is left, or there was an error
            deque(shared, maxlen=0)

    def help_out() -> None:
        torch.set_num_threads(1)
        with torch.inference_mode(is_inference), torch.no_grad():
            take_part()

    helpers: list[Future[None]] = []
    try:
        for _ in range(num_threads - 1):
            helpers.append(_threads(os.getpid()).submit(help_out))
        torch.set_num_threads(1)
        take_part()
    finally:
        try:
            deque(shared, maxlen=0)
            errors = [None if helper.cancel() else helper.exception() for helper in helpers]
        finally:
            torch.set_num_threads(num_threads)
    for error in errors:
        if error is not None:
            raise error


@functools.lru_cache(maxsize=1)
def _threads(process: int) -> ThreadPoolExecutor:
    """Return the threads.

    They are kept, since each has memory of its own that oneDNN would allocate again; but not in a forked process, which
    has no threads.
    """
    return ThreadPoolExecutor(MOST_THREADS - 1, thread_name_prefix="shared-work")
