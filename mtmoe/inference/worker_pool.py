"""Worker pool: several processes that translate with the same run; the result is that of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mtmoe.inference.requests import Request
from mtmoe.inference.translation import Translation
from mtmoe.inference.translator import Translator
from mtmoe.system.process_pool import PAUSE, Chunk, ProcessPool
from mtmoe.system.process_settings import prepare_for_translation, use_threads

CHUNK_LINES = 256
"""That a worker is given at a time, at least: a file of a few thousand lines should keep all of them busy."""


class _Work(NamedTuple):
    """A chunk that a worker translates, and how."""

    requests: Sequence[Request]
    num_best: int
    wanted: Mapping[str, Any]


@dataclass(frozen=True)
class TranslatingWorker:
    """What each process does: load the run, and translate chunks with it."""

    run: str
    devices: Sequence[str | None]
    arguments: Mapping[str, Any]

    def __call__(self, place: int, num_threads: int) -> Callable[[_Work], list[Translation]]:
        """Load the run in the process that is number ``place``."""
        prepare_for_translation()
        use_threads(num_threads)
        translator = Translator(self.run, device=self.devices[place % len(self.devices)], **self.arguments)
        return lambda work: translator.translate(work.requests, work.num_best, **work.wanted)


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
        fix = "if memory is short, use fewer --workers or a smaller --set decoding.batch_tokens=..."
        worker = TranslatingWorker(str(run), devices, arguments)
        self._pool: ProcessPool[_Work, list[Translation]] = ProcessPool(worker, num_workers, fix=fix, warn=warn)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.close(at_once=kind is not None)

    @property
    def process_ids(self) -> list[int]:
        """Return the ids of the workers' processes."""
        return self._pool.process_ids

    def close(self, *, at_once: bool = False) -> None:
        """End all workers; ``at_once`` without waiting for what they are doing."""
        self._pool.close(at_once=at_once)

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
        wanted = {"with_alignment": with_alignment, "with_scores": with_scores}
        work = (_chunk(requests, num_best, wanted) if requests else PAUSE for requests in chunks)
        for answer in self._pool.answers(work):
            yield answer or []


def _chunk(requests: Sequence[Request], num_best: int, wanted: Mapping[str, bool]) -> Chunk[_Work]:
    lines = f"lines {requests[0].number + 1} to {requests[-1].number + 1}"
    return Chunk(_Work(requests, num_best, wanted), lines)
