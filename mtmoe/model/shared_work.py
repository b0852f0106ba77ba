"""Independent pieces of one operation on several CPU threads, each of which computes its pieces alone.

Many operations of middling size gain little from threads within each: between two of them all wait for the last. Pieces
side by side wait once, and one thread's copies hide behind another's products. (torch lets go of Python's lock in
every operation.)
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")

_MOST_WORKERS = 8  # Python's part of the pieces is done by one at a time


def share_work(pieces: Sequence[T], work: Callable[[Iterator[T]], None]) -> None:
    """``work`` goes through the pieces that it is given and writes the result of each to a place of its own.

    It is called once in this thread and, where torch has more than one thread here, once in each of the others, which
    all take from the same iterator; each computes with its share of torch's threads. Which one takes a piece makes no
    difference to the result as long as the piece's own operations do not depend on the number of threads.
    An error of any of them is raised here, after all have stopped.
    """
    num_threads = torch.get_num_threads()
    num_workers = min(num_threads, _MOST_WORKERS, len(pieces) // 2)
    shared = iter(pieces)
    if num_workers < 2:
        work(shared)
        return
    share, is_inference = num_threads // num_workers, torch.is_inference_mode_enabled()

    def help_out() -> None:
        torch.set_num_threads(share)
        with torch.inference_mode(is_inference), torch.no_grad():
            work(shared)

    helpers = [_threads(os.getpid()).submit(help_out) for _ in range(num_workers - 1)]
    try:
        torch.set_num_threads(share)
        work(shared)
    finally:
        for _ in shared:  # after an error: nobody begins another piece
            pass
        errors = [helper.exception() for helper in helpers]
        torch.set_num_threads(num_threads)
    for error in errors:
        if error is not None:
            raise error


@functools.lru_cache(maxsize=1)
def _threads(process: int) -> ThreadPoolExecutor:
    """Kept, since each has memory of its own that oneDNN would allocate again; but not in a forked process, which has
    no threads."""
    return ThreadPoolExecutor(_MOST_WORKERS - 1, thread_name_prefix="experts")
