"""Process pool: chunks of lines are worked on in several processes, and come out in order.

Each worker is a fresh process (spawn: a forked lock may never open) with a pipe of its own. It ends when the pipe does,
so that none outlives the process that started it, however that ended.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, NamedTuple, TypeVar

from mtmoe.errors import UserError
from mtmoe.system.cpu_cores import num_cores
from mtmoe.system.scarce_resources import is_lack_of_memory

_MOST_ATTEMPTS = 2
_PATIENCE_SECONDS = 5.0

Work = TypeVar("Work")
Answer = TypeVar("Answer")


class Chunk(NamedTuple, Generic[Work]):
    """What a worker gets at a time; ``lines`` says of which lines it is, for messages: "lines 1 to 256"."""

    work: Work
    lines: str


PAUSE: Chunk[Any] = Chunk(None, "")
"""In place of a chunk: there is no more to read for now, so all that was read is given out first."""


class _Task(NamedTuple):
    number: int
    chunk: Chunk[Any]
    attempt: int = 1


class _Process(NamedTuple):
    place: int
    process: BaseProcess
    connection: Connection


class ProcessPool(Generic[Work, Answer]):
    """Works on chunks in several processes.

    >>> with ProcessPool(make_worker, 2, fix="use fewer --workers") as pool:                       # doctest: +SKIP
    ...     [answer] = pool.answers([Chunk(lines, "lines 1 to 256")])
    """

    def __init__(
        self,
        make_worker: Callable[[int, int], Callable[[Work], Answer]],
        num_workers: int,
        *,
        fix: str,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Start the processes, which share the cores.

        Args:
            make_worker: picklable; called in each process with its place among them and the threads that it may use. It
                returns what makes an answer of a chunk's work. A :class:`UserError` of either is raised by
                :meth:`answers`.
            fix: what to do where processes die, perhaps for want of memory.
            warn: told when one died and its lines are worked on again.
        """
        self._make_worker, self._fix, self._warn = make_worker, fix, warn
        self._num_threads = max(1, num_cores() // num_workers)
        self._busy: dict[_Process, _Task] = {}
        self._processes: list[_Process] = []
        for place in range(num_workers):
            self._processes.append(self._started(place))
        self._idle = list(self._processes)

    def __enter__(self) -> ProcessPool[Work, Answer]:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.close(at_once=kind is not None)

    @property
    def process_ids(self) -> list[int]:
        """Return the ids of the processes."""
        return [process.process.pid or 0 for process in self._processes]

    def close(self, *, at_once: bool = False) -> None:
        """End all processes; ``at_once`` without waiting for what they are doing."""
        for process in self._processes:
            process.connection.close()
            if at_once or process in self._busy:
                process.process.terminate()
        for process in self._processes:
            process.process.join(_PATIENCE_SECONDS)
            if process.process.is_alive():
                process.process.kill()
                process.process.join()
        self._processes, self._idle, self._busy = [], [], {}

    def answers(self, chunks: Iterable[Chunk[Work]]) -> Iterator[Answer | None]:
        """Yield the answer to each chunk, in order; None for a pause.

        Chunks are read as processes become free, and a bounded number ahead of what is given out. A :data:`PAUSE`
        says that there is no more to read for now: all that was read is given out before the next is asked for.

        Raises:
            UserError: that of a worker; a process died twice over the same chunk.
        """
        most_ahead = 3 * len(self._processes)
        done: dict[int, Answer | None] = {}
        next_number = 0
        for number, chunk in enumerate(chunks):
            if chunk is PAUSE:
                done[number] = None
                while self._busy:
                    self._collect(done)
            else:
                while not self._idle or number - next_number >= most_ahead:
                    self._collect(done)
                    while next_number in done:
                        yield done.pop(next_number)
                        next_number += 1
                self._give(_Task(number, chunk), self._idle.pop())
            while next_number in done:
                yield done.pop(next_number)
                next_number += 1
        while self._busy:
            self._collect(done)
            while next_number in done:
                yield done.pop(next_number)
                next_number += 1

    def _started(self, place: int) -> _Process:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = (theirs, place, self._num_threads, self._make_worker)
        process = context.Process(target=_serve, args=arguments, name=f"mtmoe worker {place}", daemon=True)
        # Ctrl-C reaches all processes of a terminal: this one is interrupted, and ends the workers. A mask is
        # inherited, while a handler would come too late for a worker that is still importing.
        # (The tracker that starts with the first process unblocks SIGINT: it has to run before.)
        resource_tracker.ensure_running()
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        theirs.close()
        return _Process(place, process, ours)

    def _give(self, task: _Task, process: _Process) -> None:
        self._busy[process] = task
        with contextlib.suppress(OSError):  # it has died; to be found when its answer is waited for
            process.connection.send(task.chunk.work)

    def _collect(self, done: dict[int, Answer | None]) -> None:
        """Wait for an answer, or for the end of a process."""
        by_connection: dict[Any, _Process] = {process.connection: process for process in self._busy}
        for connection in wait(list(by_connection)):
            process = by_connection[connection]
            task = self._busy.pop(process)
            try:
                answer = process.connection.recv()
            except (EOFError, OSError):
                self._replace(process, task)
                continue
            if isinstance(answer, Exception):
                self._busy[process] = task  # it is not idle: closing must not wait for it
                raise answer
            self._idle.append(process)
            done[task.number] = answer

    def _replace(self, process: _Process, task: _Task) -> None:
        process.connection.close()
        process.process.join()
        self._processes.remove(process)
        died = f"a worker process died ({_reason(process.process.exitcode)}) over {task.chunk.lines}"
        if task.attempt == _MOST_ATTEMPTS:
            raise UserError(f"{died}, for the second time", fix=self._fix)
        self._warn(f"{died}; another one works on them again")
        another = self._started(process.place)
        self._processes.append(another)
        self._give(task._replace(attempt=task.attempt + 1), another)


def _reason(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-exit_code).name
    return f"exit status {exit_code}"


def _serve(
    connection: Connection, place: int, num_threads: int, make_worker: Callable[[int, int], Callable[[Any], Any]]
) -> None:
    """Answer, in a process, each chunk with what is made of it, or with the error."""
    worker: Callable[[Any], Any] | None = None
    while True:
        try:
            work = connection.recv()
        except (EOFError, OSError):
            return
        answer: Any
        try:
            # Only now, so that a run that cannot be loaded is an answer like others.
            worker = worker or make_worker(place, num_threads)
            answer = worker(work)
        except UserError as error:
            answer = error
        except Exception as error:
            text = "in a worker process:\n" + "".join(traceback.format_exception(error))
            answer = error if is_lack_of_memory(error) else RuntimeError(text)
        try:
            connection.send(answer)
        except OSError:
            return
