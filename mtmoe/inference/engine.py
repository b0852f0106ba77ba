"""Engine: threads translate what many ask for at a time, in searches that new lines enter as others leave them.

A server's requests and the tasks of an :class:`mtmoe.AsyncTranslator` are such.

Each thread steps a search of its own for each run (and for each number of translations that are wanted of a line), and
takes lines in after each step: one of each request in turn, so that a sentence does not wait for all lines of a long
text. The threads share the lines evenly. A line's translation does not depend on the others, since nothing that a
search finds does (`inference/search/beam_search.py`).
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple, Protocol

from mtmoe.inference.requests import Request, Wanted
from mtmoe.inference.translation import Translation
from mtmoe.system.process_settings import use_threads

_RATE_DECAY = 0.99
_LONGEST_RETRY_SECONDS = 60

Told = Callable[[int, Translation], None]
"""Told the place of a line in its job and its translation, in a thread of the engine, as soon as it is known."""


class EngineClosedError(Exception):
    """The engine takes no more jobs."""


class QueueFullError(Exception):
    """Too many lines are waiting. retry_after_seconds: when there will be room."""

    def __init__(self, num_waiting: int, most: int, retry_after_seconds: int) -> None:
        super().__init__(f"too much to do: {num_waiting} lines are waiting, and {most} may")
        self.retry_after_seconds = retry_after_seconds


class Running(Protocol):
    """A search that lines can enter at any time, such as :class:`mtmoe.inference.continuous_translation`'s."""

    @property
    def num_lines(self) -> int:
        """Return how many lines are at work."""
        ...

    def add(self, number: int, request: Request, wanted: Wanted) -> None:
        """Take in a line; ``number``: told with its translation."""
        ...

    def drop(self, number: int) -> None:
        """Take a line out that nobody waits for any more."""
        ...

    def step(self) -> Sequence[tuple[int, Translation]]:
        """Take a step; return the lines that are done with it. After an error no line is at work."""
        ...


class Model(Protocol):
    """What translates."""

    def open(self, wanted: Wanted) -> Running:
        """Begin a search for lines of which as many translations are wanted."""
        ...

    def translate(self, lines: Sequence[Request], wanted: Wanted) -> list[Translation]:
        """Translate lines by themselves."""
        ...


class Limits(NamedTuple):
    """Bounds of what waits and of what is translated at once."""

    queue_lines: int | None = 2000
    """That wait; None: any number."""
    batch_lines: int = 128
    """At work in a thread."""
    batch_characters: int = 16_000
    """Of these lines; the last one taken may exceed it."""


class Listener:
    """Is told what the engine does, in its threads; this one does nothing."""

    def step_done(self, run: str, num_lines: int, seconds: float) -> None:
        """Note that a search took a step with so many lines."""

    def lines_dropped(self, reason: str, num_lines: int) -> None:
        """Note that lines were not translated: ``cancelled``, ``late`` or ``failed``."""


class Job:
    """The lines of one request. ``future`` has their translations, or the error."""

    def __init__(self, run: str, lines: Sequence[Request], wanted: Wanted, told: Told | None = None) -> None:
        self.run, self.lines, self.wanted, self.told = run, lines, wanted, told
        self.future: Future[list[Translation]] = Future()
        self.next_place = 0
        self.reason = ""
        """Why it was cancelled, for the listener."""
        self._found: list[Translation | None] = [None] * len(lines)
        self._num_found = 0
        self._lock = threading.Lock()

    @property
    def num_waiting(self) -> int:
        """Return how many lines no search has taken yet."""
        return len(self.lines) - self.next_place

    def found(self, place: int, translation: Translation) -> None:
        """Take in the translation of a line; with the last one the job is done."""
        if self.told is not None and not self.future.done():
            self.told(place, translation)
        with self._lock:
            self._found[place] = translation
            self._num_found += 1
            is_done = self._num_found == len(self.lines)
        if is_done and self.future.set_running_or_notify_cancel():
            self.future.set_result([each for each in self._found if each is not None])

    def failed(self, error: BaseException) -> None:
        """End the job with an error, unless it has ended already."""
        with self._lock:
            if not self.future.done() and self.future.set_running_or_notify_cancel():
                self.future.set_exception(error)


class _Taken(NamedTuple):
    job: Job
    place: int

    @property
    def request(self) -> Request:
        return self.job.lines[self.place]


class _Lane:
    """A search of one thread, and the lines in it."""

    def __init__(self, run: str, model: Model, wanted: Wanted) -> None:
        self.run, self.model, self.num_best = run, model, wanted.num_best
        self.running = model.open(wanted)
        self.taken: dict[int, _Taken] = {}
        self._next_number = 0

    def add(self, taken: _Taken) -> None:
        number, self._next_number = self._next_number, self._next_number + 1
        self.running.add(number, taken.request, taken.job.wanted)
        self.taken[number] = taken

    def drop_unwanted(self) -> list[_Taken]:
        """Take the lines out of the search whose jobs have ended; return them."""
        unwanted = [number for number, taken in self.taken.items() if taken.job.future.done()]
        for number in unwanted:
            self.running.drop(number)
        return [self.taken.pop(number) for number in unwanted]


class TranslationEngine:
    """Translates the lines of all jobs.

    >>> with TranslationEngine({"runs/demo": model}) as engine:                                # doctest: +SKIP
    ...     engine.submit("runs/demo", [Request("Where is the station?")]).future.result()
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        limits: Limits = Limits(),  # noqa: B008, it is immutable
        *,
        num_threads: int = 1,
        listener: Listener | None = None,
        prepare_thread: Callable[[], None] = lambda: None,
    ) -> None:
        """Get ready; :meth:`start` starts the threads.

        Args:
            models: what translates, by the name of the run.
            prepare_thread: called in each thread before anything is translated.
        """
        self._models, self._limits = dict(models), limits
        self._listener = listener if listener is not None else Listener()
        self._prepare_thread = prepare_thread
        self._jobs: deque[Job] = deque()
        self._num_waiting = 0
        self._num_at_work = 0
        self._changed = threading.Condition()
        self._is_closed = False
        self._lines_done = self._seconds = 0.0  # the recent ones
        names = (f"mtmoe-translation-{number}" for number in range(num_threads))
        self._threads = [threading.Thread(target=self._work, name=name, daemon=True) for name in names]

    def __enter__(self) -> TranslationEngine:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Take no more jobs, and return when all that were taken are done."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    @property
    def is_alive(self) -> bool:
        """Return whether jobs are taken and translated."""
        return all(thread.is_alive() for thread in self._threads) and not self._is_closed

    @property
    def num_waiting(self) -> int:
        """Return the number of lines that no search has taken yet."""
        return self._num_waiting

    def replace(self, run: str, model: Model) -> None:
        """Translate with another model from here on. Lines at work stay with the one that they are with, which is let
        go of when they are done."""
        with self._changed:
            self._models[run] = model
            self._changed.notify_all()

    def submit(
        self,
        run: str,
        lines: Sequence[Request],
        wanted: Wanted = Wanted(),  # noqa: B008, it is immutable
        told: Told | None = None,
    ) -> Job:
        """Let lines be translated; return at once.

        Args:
            told: called with the translation of each line.

        Raises:
            QueueFullError: too much is waiting.
            EngineClosedError: it was closed.
        """
        job = Job(run, lines, wanted, told)
        if not lines:
            job.future.set_result([])
            return job
        with self._changed:
            if self._is_closed:
                raise EngineClosedError
            most = self._limits.queue_lines
            if most is not None and self._num_waiting and self._num_waiting + len(lines) > most:
                raise QueueFullError(self._num_waiting, most, self._seconds_of_waiting())
            self._jobs.append(job)
            self._num_waiting += len(lines)
            self._changed.notify_all()
        return job

    def cancel(self, job: Job, reason: str = "cancelled") -> None:
        """Drop the lines of a job, for which nobody waits any more: at once those that no search has taken, and the
        others before the next step."""
        job.reason = job.reason or reason
        job.future.cancel()
        with self._changed:
            self._dropped(job, reason)

    def _seconds_of_waiting(self) -> int:
        rate = len(self._threads) * self._lines_done / self._seconds if self._seconds else 0.0
        seconds = self._num_waiting / rate if rate else 1.0
        return max(1, min(_LONGEST_RETRY_SECONDS, math.ceil(seconds)))

    # ---------------------------------------------------------------------------------------- in the threads

    def _work(self) -> None:
        self._prepare_thread()
        lanes: list[_Lane] = []
        while True:
            with self._changed:
                while not (self._jobs or self._is_closed or any(map(self._has_to_do, lanes))):
                    self._changed.wait()
                if self._is_closed and not self._jobs and not any(lane.taken for lane in lanes):
                    return
            self._take_turn(lanes)

    def _has_to_do(self, lane: _Lane) -> bool:
        """Return whether a lane has lines, or a model that was replaced; the lock is held."""
        return bool(lane.taken) or lane.model is not self._models[lane.run]

    def _take_turn(self, lanes: list[_Lane]) -> None:
        """Take lines in, and a step in each lane; drop those that are done and have a model that was replaced."""
        with self._changed:
            taken = self._next_lines([each for lane in lanes for each in lane.taken.values()])
            models = dict(self._models)
        for each in taken:
            self._enter(lanes, each, models)
        for lane in list(lanes):
            for each in lane.drop_unwanted():
                self._leave(1)
                self._listener.lines_dropped(each.job.reason, 1)
            goes_on = self._step(lane) if lane.taken else lane.model is models[lane.run]
            if not goes_on:
                lanes.remove(lane)

    def _next_lines(self, at_work: Sequence[_Taken]) -> list[_Taken]:
        """Take the lines for which a thread has room, one of each job in turn; the lock is held.

        Args:
            at_work: those that the thread has.
        """
        share = math.ceil((self._num_waiting + self._num_at_work) / len(self._threads))
        room = min(self._limits.batch_lines, share) - len(at_work)
        num_characters = sum(len(each.request.text) for each in at_work)
        taken: list[_Taken] = []
        while self._jobs and len(taken) < room and num_characters < self._limits.batch_characters:
            job = self._jobs.popleft()
            taken.append(_Taken(job, job.next_place))
            num_characters += len(taken[-1].request.text)
            job.next_place += 1
            if job.num_waiting:
                self._jobs.append(job)
        self._num_waiting -= len(taken)
        self._num_at_work += len(taken)
        return taken

    def _enter(self, lanes: list[_Lane], taken: _Taken, models: Mapping[str, Model]) -> None:
        """Give a line to a search, which is opened if need be; a line that none can take ends its job."""
        run, wanted = taken.job.run, taken.job.wanted
        try:
            found = (lane for lane in lanes if lane.model is models[run] and lane.num_best == wanted.num_best)
            if (lane := next(found, None)) is None:
                lane = _Lane(run, models[run], wanted)
                lanes.append(lane)
            lane.add(taken)
        except Exception as error:  # whatever it is, it must not end the thread, nor the jobs of others
            self._failed(taken.job, error)
            self._leave(1)

    def _step(self, lane: _Lane) -> bool:
        """Take a step of a search, and tell what is found. If it fails, the lines in it are translated one by one.

        Returns:
            Whether it can go on.
        """
        num_lines, begun = len(lane.taken), time.perf_counter()
        try:
            done = lane.running.step()
        except Exception:
            for each in lane.taken.values():
                self._translate_alone(lane.model, each)
            return False
        seconds = time.perf_counter() - begun
        self._listener.step_done(lane.run, num_lines, seconds)
        self._lines_done = _RATE_DECAY * self._lines_done + len(done)
        self._seconds = _RATE_DECAY * self._seconds + seconds
        for number, translation in done:
            each = lane.taken.pop(number)
            self._leave(1)
            each.job.found(each.place, translation)
        return True

    def _translate_alone(self, model: Model, taken: _Taken) -> None:
        try:
            if not taken.job.future.done():
                taken.job.found(taken.place, model.translate([taken.request], taken.job.wanted)[0])
        except Exception as error:
            self._failed(taken.job, error)
        self._leave(1)

    def _leave(self, num_lines: int) -> None:
        with self._changed:
            self._num_at_work -= num_lines

    def _failed(self, job: Job, error: Exception) -> None:
        job.reason = job.reason or "failed"
        job.failed(error)
        with self._changed:
            self._dropped(job, "failed")

    def _dropped(self, job: Job, reason: str) -> None:
        """Take a job out of the queue; the lock is held."""
        if job in self._jobs:
            self._jobs.remove(job)
            self._num_waiting -= job.num_waiting
            self._listener.lines_dropped(reason, job.num_waiting)


def engine_on_all_cores(
    models: Mapping[str, Model],
    limits: Limits = Limits(),  # noqa: B008, it is immutable
    *,
    is_on_cpu: bool,
    listener: Listener | None = None,
) -> TranslationEngine:
    """Return an engine as fast as ``mtmoe translate``: several searches, each with its part of the cores.

    Args:
        is_on_cpu: whether all models compute on the processor; else there is one search.
    """
    import torch

    from mtmoe.inference.search.threads import MAX_SEARCHES

    num_cores = torch.get_num_threads()
    num_threads = min(num_cores, MAX_SEARCHES) if is_on_cpu else 1
    return TranslationEngine(
        models,
        limits,
        num_threads=num_threads,
        listener=listener,
        # OpenMP counts threads for each thread that starts some.
        prepare_thread=partial(use_threads, num_cores // num_threads),
    )
