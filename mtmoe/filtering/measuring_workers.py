"""Workers that measure: chunks of pairs in several processes, in order."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, resource_tracker
from typing import Any

from mtmoe.corpus_survey.text_fields import LanguagePair
from mtmoe.errors import UserError
from mtmoe.filtering.criteria import Criteria
from mtmoe.filtering.measuring import MeasuredPair, Measurer
from mtmoe.filtering.pair_rules import CheckedPair
from mtmoe.system.cpu_cores import num_cores
from mtmoe.system.process_settings import prepare_for_translation, use_threads

Chunk = Sequence[CheckedPair]


def measured_chunks(
    chunks: Iterable[Chunk],
    criteria: Criteria,
    languages: LanguagePair,
    devices: Sequence[str | None] = (None,),
    num_workers: int = 1,
) -> Iterator[list[MeasuredPair]]:
    """Yield what is found of each chunk, in order; a bounded number of chunks is in memory.

    Args:
        devices: worker n is on ``devices[n % len(devices)]``. On a CPU the workers share the cores.
        num_workers: processes that measure; 1 measures in this process.

    Raises:
        UserError: as :class:`~mtmoe.filtering.measuring.Measurer`; a worker was killed.
    """
    if num_workers == 1:
        measurer = Measurer(criteria, languages, devices[0])
        yield from map(measurer.measure, chunks)
        return
    # spawn, not fork: the parent may hold threads, and a forked lock never opens.
    context = multiprocessing.get_context("spawn")
    arguments = (context.Value("i", 0), max(1, num_cores() // num_workers), tuple(devices), criteria, languages)
    others = set(multiprocessing.active_children())
    pool = concurrent.futures.ProcessPoolExecutor(num_workers, context, _start_worker, arguments)
    waiting: deque[concurrent.futures.Future[list[MeasuredPair]]] = deque()
    is_done = False
    try:
        for chunk in chunks:
            waiting.append(_submitted(pool, chunk))
            if len(waiting) > 2 * num_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        is_done = True
    except BrokenProcessPool:
        raise UserError(
            f"one of the {num_workers} measuring processes was killed, perhaps for want of memory",
            fix="go on with --resume and fewer --workers",
        ) from None
    finally:
        pool.shutdown(wait=is_done, cancel_futures=True)
        if not is_done:  # nobody waits for what they are doing
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()


def _submitted(
    pool: concurrent.futures.ProcessPoolExecutor, chunk: Chunk
) -> concurrent.futures.Future[list[MeasuredPair]]:
    """Give a chunk to the pool; the processes that this starts hear nothing of Ctrl-C, which is for the parent."""
    resource_tracker.ensure_running()  # it would unblock the signal
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(_measure, chunk)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


_measurer: Measurer | None = None
_failure: UserError | None = None


def _start_worker(
    counter: Any, num_threads: int, devices: Sequence[str | None], criteria: Criteria, languages: LanguagePair
) -> None:
    global _measurer, _failure
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare_for_translation()
    use_threads(num_threads)
    with counter.get_lock():
        place, counter.value = counter.value, counter.value + 1
    try:
        _measurer = Measurer(criteria, languages, devices[place % len(devices)])
    except UserError as error:  # an answer like others
        _failure = error


def _end_with_parent() -> None:
    """Wait until the parent is gone, however that ended, and go, too."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _measure(chunk: Chunk) -> list[MeasuredPair]:
    if _failure is not None:
        raise _failure
    assert _measurer is not None
    return _measurer.measure(chunk)
