"""Engine: one thread translates what all requests ask for, in batches of what is waiting.

A batch is made when the one before it is done. It takes lines of every request that wants the same of the same run, one
of each in turn, so that a sentence does not wait for all lines of a long text. A line's translation does not depend on
its batch, since nothing that a search finds does (`inference/search/beam_search.py`).

Clients that were answered together ask again one after the other. So that the first of them does not get a batch of its
own, while the others wait for it, the engine then waits for a moment, a part of the time that the batch took.

New lines do not enter a batch that is being searched.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from mtmoe.inference.requests import Request
from mtmoe.inference.translation import Translation
from mtmoe.serving.refusal import Refusal

_RATE_DECAY = 0.9
_GATHERING_SHARE = 0.2
"""Of the time of a batch, that at most is waited for clients that it has answered."""
_LONGEST_GATHERING_SECONDS = 0.05
_LONGEST_RETRY_SECONDS = 60


class Wanted(NamedTuple):
    """What is wanted of each line: arguments of :meth:`mtmoe.Translator.translate`."""

    num_best: int = 1
    with_alignment: bool = False
    with_scores: bool = False


Translate = Callable[[Sequence[Request], Wanted], list[Translation]]
"""From lines to their translations, in order."""
Told = Callable[[int, Translation], None]
"""Told the place of a line in its job and its translation, in the engine's thread, as soon as it is known."""


class Limits(NamedTuple):
    """Bounds of what waits and of what is translated at once."""

    queue_lines: int = 2000
    batch_lines: int = 64
    batch_characters: int = 8000
    """A batch ends with the line that exceeds it."""


class Listener:
    """Is told what the engine does, in its thread; this one does nothing."""

    def batch_done(self, run: str, num_lines: int, seconds: float) -> None:
        """Note that a batch was translated."""

    def lines_dropped(self, reason: str, num_lines: int) -> None:
        """Note that lines were not translated: ``cancelled``, ``late`` or ``failed``."""


class Job:
    """The lines of one request. ``future`` has their translations, or the error."""

    def __init__(self, run: str, lines: Sequence[Request], wanted: Wanted, told: Told | None = None) -> None:
        self.run, self.lines, self.wanted, self.told = run, lines, wanted, told
        self.future: Future[list[Translation]] = Future()
        self.next_place = 0
        self._found: list[Translation | None] = [None] * len(lines)
        self._num_found = 0

    @property
    def num_waiting(self) -> int:
        """Return how many lines no batch has taken yet."""
        return len(self.lines) - self.next_place

    def found(self, place: int, translation: Translation) -> None:
        """Take in the translation of a line; with the last one the job is done."""
        self._found[place] = translation
        self._num_found += 1
        if self.told is not None and not self.future.done():
            self.told(place, translation)
        if self._num_found == len(self.lines) and self.future.set_running_or_notify_cancel():
            self.future.set_result([each for each in self._found if each is not None])

    def failed(self, error: BaseException) -> None:
        """End the job with an error, unless it has ended already."""
        if not self.future.done() and self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


class _Taken(NamedTuple):
    job: Job
    place: int


class TranslationEngine:
    """Translates the lines of all jobs in one thread.

    >>> with TranslationEngine({"runs/demo": translate}) as engine:                            # doctest: +SKIP
    ...     engine.submit("runs/demo", [Request("Where is the station?")]).future.result()
    """

    def __init__(
        self,
        runs: Mapping[str, Translate],
        limits: Limits = Limits(),  # noqa: B008, it is immutable
        *,
        listener: Listener | None = None,
        prepare_thread: Callable[[], None] = lambda: None,
    ) -> None:
        """Get ready; :meth:`start` starts the thread.

        Args:
            runs: what translates, by the name of the run.
            prepare_thread: called in the thread before anything is translated.
        """
        self._runs, self._limits = dict(runs), limits
        self._listener = listener if listener is not None else Listener()
        self._prepare_thread = prepare_thread
        self._jobs: deque[Job] = deque()
        self._num_waiting = 0
        self._changed = threading.Condition()
        self._is_closed = False
        self._lines_per_second = 0.0
        self._thread = threading.Thread(target=self._work, name="mtmoe-translation", daemon=True)

    def __enter__(self) -> TranslationEngine:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Take no more jobs, and return when all that were taken are done."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def is_alive(self) -> bool:
        """Return whether jobs are taken and translated."""
        return self._thread.is_alive() and not self._is_closed

    @property
    def num_waiting(self) -> int:
        """Return the number of lines that no batch has taken yet."""
        return self._num_waiting

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
            Refusal: too much is waiting (429), or the engine is closed (503).
        """
        job = Job(run, lines, wanted, told)
        if not lines:
            job.future.set_result([])
            return job
        with self._changed:
            if self._is_closed:
                raise Refusal(503, "the server is being stopped", retry_after_seconds=5)
            if self._num_waiting and self._num_waiting + len(lines) > self._limits.queue_lines:
                raise Refusal(
                    429,
                    f"too much to do: {self._num_waiting} lines are waiting, and {self._limits.queue_lines} may",
                    retry_after_seconds=self._seconds_of_waiting(),
                )
            self._jobs.append(job)
            self._num_waiting += len(lines)
            self._changed.notify()
        return job

    def cancel(self, job: Job, reason: str = "cancelled") -> None:
        """Drop the lines of a job that no batch has taken; nobody waits for them any more."""
        job.future.cancel()
        with self._changed:
            self._dropped(job, reason)

    def _seconds_of_waiting(self) -> int:
        seconds = self._num_waiting / self._lines_per_second if self._lines_per_second else 1.0
        return max(1, min(_LONGEST_RETRY_SECONDS, math.ceil(seconds)))

    # ---------------------------------------------------------------------------------------- in the thread

    def _work(self) -> None:
        self._prepare_thread()
        while True:
            with self._changed:
                while not self._jobs and not self._is_closed:
                    self._changed.wait()
                batch = self._next_batch()
                if not batch and not self._jobs and self._is_closed:
                    return
            if batch:
                begun = time.perf_counter()
                self._translate(batch)
                self._gather(batch, time.perf_counter() - begun)

    def _gather(self, batch: Sequence[_Taken], seconds: float) -> None:
        """Wait until as many jobs are there as the batch has answered, if that were several, but not for long."""
        num_answered = len({id(taken.job) for taken in batch if not taken.job.num_waiting})
        if num_answered > 1:
            longest = min(_GATHERING_SHARE * seconds, _LONGEST_GATHERING_SECONDS)
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or len(self._jobs) >= num_answered, longest)

    def _next_batch(self) -> list[_Taken]:
        """Take the lines of a batch from the jobs that want the same as the one that has waited longest."""
        if not self._jobs:
            return []
        first = self._jobs[0]
        alike = [job for job in self._jobs if (job.run, job.wanted) == (first.run, first.wanted)]
        batch: list[_Taken] = []
        num_characters = 0
        while alike and len(batch) < self._limits.batch_lines and num_characters < self._limits.batch_characters:
            for job in alike:
                batch.append(_Taken(job, job.next_place))
                num_characters += len(job.lines[job.next_place].text)
                job.next_place += 1
            alike = [job for job in alike if job.num_waiting]
        self._num_waiting -= len(batch)
        served = {id(taken.job) for taken in batch}
        others = [job for job in self._jobs if id(job) not in served]
        unfinished = [job for job in self._jobs if id(job) in served and job.num_waiting]
        self._jobs = deque([*others, *unfinished])
        return batch

    def _dropped(self, job: Job, reason: str) -> None:
        """Take a job out of the queue; the lock is held."""
        if job in self._jobs:
            self._jobs.remove(job)
            self._num_waiting -= job.num_waiting
            self._listener.lines_dropped(reason, job.num_waiting)

    def _translate(self, batch: Sequence[_Taken]) -> None:
        run, wanted = batch[0].job.run, batch[0].job.wanted
        begun = time.perf_counter()
        try:
            translations = self._runs[run]([taken.job.lines[taken.place] for taken in batch], wanted)
        except Exception as error:  # whatever it is, it must not end the thread, nor the jobs of others
            jobs = list({id(taken.job): taken.job for taken in batch}.values())
            if len(jobs) == 1:
                self._failed(jobs[0], error)
                return
            for job in jobs:
                self._translate([taken for taken in batch if taken.job is job])
            return
        seconds = time.perf_counter() - begun
        rate = len(batch) / max(seconds, 1e-6)
        self._lines_per_second = (
            _RATE_DECAY * self._lines_per_second + (1 - _RATE_DECAY) * rate if self._lines_per_second else rate
        )
        self._listener.batch_done(run, len(batch), seconds)
        for taken, translation in zip(batch, translations, strict=True):
            taken.job.found(taken.place, translation)

    def _failed(self, job: Job, error: Exception) -> None:
        job.failed(error)
        with self._changed:
            self._dropped(job, "failed")
