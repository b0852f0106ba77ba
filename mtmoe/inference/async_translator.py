"""AsyncTranslator: a translator for many tasks and threads at a time, whose lines share a running search."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

from mtmoe.inference.continuous_translation import LoadedModel
from mtmoe.inference.engine import EngineClosedError, Job, Limits, TranslationEngine, engine_on_all_cores
from mtmoe.inference.requests import Request, Wanted
from mtmoe.inference.translation import Translation
from mtmoe.inference.translator import Translator

_NAME = "translator"


class AsyncTranslator:
    """Translates for many tasks and threads at the same time, as a server does.

    Lines of all calls enter one running search, each as others leave it, one of each call in turn: a sentence waits
    neither for a long text nor for others to be done. Each gets what :meth:`Translator.translate` gives it, whatever
    else is translated at the time. Tasks of any event loop and threads may call it.

    >>> async with AsyncTranslator(Translator("runs/demo")) as translator:                     # doctest: +SKIP
    ...     [translation] = await translator.translate(["Where is the station?"])

    Threads of its own translate, from the first moment until it is closed; at its end a context (``with`` or
    ``async with``) closes it.
    """

    def __init__(self, translator: Translator) -> None:
        """Begin to take lines.

        Args:
            translator: what translates; it can be used by itself all the while.
        """
        self._engine: TranslationEngine = engine_on_all_cores(
            {_NAME: LoadedModel(translator)}, Limits(queue_lines=None), is_on_cpu=translator.is_on_cpu
        )
        self._engine.start()

    async def translate(
        self,
        lines: Sequence[str | Request],
        num_best: int = 1,
        *,
        with_alignment: bool = False,
        with_scores: bool = True,
    ) -> list[Translation]:
        """Translate lines, as :meth:`Translator.translate` does; other tasks go on meanwhile.

        When the task is cancelled, its lines are taken out, also of the running search.

        Raises:
            UserError: ``num_best`` is more than the beam holds. Other calls are not harmed.
            ValueError: the translator is closed.
        """
        found = self.submit(lines, num_best, with_alignment=with_alignment, with_scores=with_scores)
        return await asyncio.wrap_future(found)

    def submit(
        self,
        lines: Sequence[str | Request],
        num_best: int = 1,
        *,
        with_alignment: bool = False,
        with_scores: bool = True,
    ) -> Future[list[Translation]]:
        """Let lines be translated, and return at once: for threads without an event loop.

        Returns:
            What has the translations, or the error of :meth:`translate`. Who cancels it takes the lines out.

        Raises:
            ValueError: the translator is closed.
        """
        if isinstance(lines, str):
            raise ValueError("give a list of lines; for one line, write [line]")
        requests = [line if isinstance(line, Request) else Request(line, number=n) for n, line in enumerate(lines)]
        try:
            job = self._engine.submit(_NAME, requests, Wanted(num_best, with_alignment, with_scores))
        except EngineClosedError:
            raise ValueError("the translator is closed") from None
        job.future.add_done_callback(partial(self._drop_if_cancelled, job))
        return job.future

    def _drop_if_cancelled(self, job: Job, future: Future[list[Translation]]) -> None:
        if future.cancelled():
            self._engine.cancel(job)

    def close(self) -> None:
        """Take no more lines, and return when all that were taken are translated."""
        self._engine.close()

    async def aclose(self) -> None:
        """Close it, as :meth:`close` does; other tasks go on meanwhile."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> AsyncTranslator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> AsyncTranslator:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
