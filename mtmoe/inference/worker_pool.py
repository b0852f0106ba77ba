"""Worker pool: several processes that translate with the same run; the result is that of one.

Each worker is a fresh process (spawn) with a pipe of its own. It ends when the pipe does, so that none outlives
the process that started it, however that ended.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mtmoe.errors import UserError
from mtmoe.inference.requests import Request
from mtmoe.inference.translation import Translation
from mtmoe.inference.translator import Translator
from mtmoe.system.cpu_cores import num_cores
from mtmoe.system.process_settings import prepare_for_translation, use_threads

CHUNK_LINES = 256
"""That a worker is given at a time, at least: a file of a few thousand lines should keep all of them busy."""

_MOST_ATTEMPTS = 2
_PATIENCE_SECONDS = 5.0


class _Work(NamedTuple):
    """A chunk that a worker translates."""

    number: int
    requests: Sequence[Request]
    num_best: int
    with_alignment: bool
    with_scores: bool
    attempt: int = 1


class _Worker(NamedTuple):
    place: int
    process: BaseProcess
    connection: Connection


class WorkerPool:
    """Translates chunks of lines in several processes.

    >>> with WorkerPool("runs/demo", 2) as pool:                                                # doctest: +SKIP
    ...     [[translation]] = pool.translate_chunks([[Request("Where is the station?")]])
    """

    def __init__(
        self,
        run: str | Path,
        num_workers: int,
        *,
        devices: Sequence[str | None] = (None,),
        warn: Callable[[str], None] = lambda text: None,
        **arguments: Any,
    ) -> None:
        """Start the workers; each loads the model by itself.

        Args:
            run, arguments: as for :class:`~mtmoe.inference.translator.Translator`.
            devices: worker n is on ``devices[n % len(devices)]``. On a CPU the workers share the cores.
            warn: told when a worker died and its lines are translated again.
        """
        self._arguments = (str(run), arguments)
        self._devices = devices
        self._num_threads = max(1, num_cores() // num_workers)
        self._warn = warn
        self._busy: dict[_Worker, _Work] = {}
        self._workers: list[_Worker] = []
        for place in range(num_workers):
            self._workers.append(self.start_worker(place))
        self._idle = list(self._workers)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.close(at_once=kind is not None)

    def close(self, *, at_once: bool = False) -> None:
        """End all workers; ``at_once`` without waiting for what they are doing."""
        for worker in self._workers:
            worker.connection.close()
            if at_once or worker in self._busy:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(_PATIENCE_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers, self._idle, self._busy = [], [], {}

    def translate_chunks(
        self,
        chunks: Iterable[Sequence[Request]],
        num_best: int = 1,
        *,
        with_alignment: bool = False,
        with_scores: bool = True,
    ) -> Iterator[list[Translation]]:
        """Yield the translations of each chunk, in order, as :meth:`Translator.translate` gives them.

        Chunks are read as workers become free, and a bounded number ahead of what is given out. An empty chunk
        says that there is no more to read for now: all that was read is given out before the next is asked for.

        Raises:
            UserError: as :meth:`Translator.translate`; a worker died twice over the same chunk.
        """
        most_ahead = 3 * len(self._workers)
        done: dict[int, list[Translation]] = {}
        next_number = 0
        for number, chunk in enumerate(chunks):
            if chunk:
                while not self._idle or number - next_number >= most_ahead:
                    self._collect(done)
                    while next_number in done:
                        yield done.pop(next_number)
                        next_number += 1
                self._give(_Work(number, chunk, num_best, with_alignment, with_scores), self._idle.pop())
            else:
                done[number] = []
                while self._busy:
                    self._collect(done)
            while next_number in done:
                yield done.pop(next_number)
                next_number += 1
        while self._busy:
            self._collect(done)
            while next_number in done:
                yield done.pop(next_number)
                next_number += 1

    def start_worker(self, place: int) -> _Worker:
        """Start the process that is number ``place`` among the workers."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        device = self._devices[place % len(self._devices)]
        arguments = (theirs, device, self._num_threads, *self._arguments)
        process = context.Process(target=serve, args=arguments, name=f"mtmoe worker {place}", daemon=True)
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
        return _Worker(place, process, ours)

    def _give(self, work: _Work, worker: _Worker) -> None:
        self._busy[worker] = work
        with contextlib.suppress(OSError):  # it has died; to be found when its answer is waited for
            worker.connection.send(work)

    def _collect(self, done: dict[int, list[Translation]]) -> None:
        """Wait for an answer, or for the end of a worker."""
        by_connection: dict[Any, _Worker] = {worker.connection: worker for worker in self._busy}
        for connection in wait(list(by_connection)):
            worker = by_connection[connection]
            work = self._busy.pop(worker)
            try:
                answer = worker.connection.recv()
            except (EOFError, OSError):
                self._replace(worker, work)
                continue
            if isinstance(answer, Exception):
                self._busy[worker] = work  # it is not idle: closing must not wait for it
                raise answer
            self._idle.append(worker)
            done[work.number] = answer

    def _replace(self, worker: _Worker, work: _Work) -> None:
        worker.connection.close()
        worker.process.join()
        self._workers.remove(worker)
        first, last = work.requests[0].number + 1, work.requests[-1].number + 1
        died = f"a worker process died ({_reason(worker.process.exitcode)}) over lines {first} to {last}"
        if work.attempt == _MOST_ATTEMPTS:
            raise UserError(
                f"{died}, for the second time",
                fix="if memory is short, use fewer --workers or a smaller --set decoding.batch_tokens=...",
            )
        self._warn(f"{died}; another one translates them again")
        another = self.start_worker(worker.place)
        self._workers.append(another)
        self._give(work._replace(attempt=work.attempt + 1), another)


def _reason(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-exit_code).name
    return f"exit status {exit_code}"


def serve(connection: Connection, device: str | None, num_threads: int, run: str, arguments: Mapping[str, Any]) -> None:
    """Answer, in a worker, each chunk with its translations, or with the error."""
    prepare_for_translation()
    use_threads(num_threads)
    translator: Translator | None = None
    while True:
        try:
            work: _Work = connection.recv()
        except (EOFError, OSError):
            return
        answer: Any
        try:
            # Only now, so that a run that cannot be loaded is an answer like others.
            translator = translator or Translator(run, device=device, **arguments)
            answer = translator.translate(
                work.requests, work.num_best, with_alignment=work.with_alignment, with_scores=work.with_scores
            )
        except (UserError, torch.OutOfMemoryError) as error:
            answer = error
        except Exception as error:
            answer = RuntimeError("in a worker process:\n" + "".join(traceback.format_exception(error)))
        try:
            connection.send(answer)
        except OSError:
            return
