"""Service: texts of requests become lines of the engine, and the translations of lines become texts again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

from mtmoe.documents.document import DocumentOptions
from mtmoe.documents.registry import DocumentFormat
from mtmoe.errors import UserError
from mtmoe.inference.constraints.terminology import Terminology
from mtmoe.inference.engine import EngineClosedError, Job, QueueFullError, TranslationEngine
from mtmoe.inference.requests import Request, Wanted
from mtmoe.inference.translation import Translation
from mtmoe.serving.detection import Detected, detect
from mtmoe.serving.directions import Directions, ServedDirection
from mtmoe.serving.document_store import DocumentStore
from mtmoe.serving.loading import ServedRun
from mtmoe.serving.metrics import Metrics
from mtmoe.serving.refusal import Refusal
from mtmoe.serving.texts import MarkupText, PlainText, Text

_LINES_AT_A_TIME = 32
_WAIT_SECONDS = 1.0
_MOST_UNPACKED = 20
"""Bytes of a document's parts for a byte of the document."""


class RequestLimits(NamedTuple):
    """Bounds of one request."""

    max_characters: int = 20_000
    max_lines: int = 500
    timeout_seconds: float = 60.0
    max_document_bytes: int = 20_000_000
    max_document_lines: int = 20_000
    document_seconds: float = 3600.0

    @property
    def max_body_bytes(self) -> int:
        """Return the size of the largest body: every character as an escape of JSON, and room for the rest."""
        return 12 * self.max_characters + 65_536


class TextToTranslate(NamedTuple):
    """A text and its direction. markup: it has tags (HTML, XML). one_line: line ends in it are white space. terms: how
    terms in it are to be translated."""

    text: str
    direction: ServedDirection
    markup: bool = False
    one_line: bool = False
    terms: Terminology | None = None

    def parsed(self) -> Text:
        """Return what has the lines of the text."""
        if self.markup:
            languages = self.direction.source, self.direction.target
            return MarkupText(self.text, *languages, in_sentences=not self.one_line)
        return PlainText(" ".join(self.text.split()) if self.one_line else self.text)


class TranslatedLine(NamedTuple):
    """A line of a text, and its translation; word numbers of the alignment are those of the line."""

    line: str
    translation: Translation


class TranslatedText(NamedTuple):
    """The translation of a text; alternatives: further ones, best first; lines: what it was made of."""

    text: str
    alternatives: tuple[str, ...]
    lines: tuple[TranslatedLine, ...]


class TranslationService:
    """What all interfaces ask."""

    def __init__(
        self,
        runs: Sequence[ServedRun],
        engine: TranslationEngine,
        metrics: Metrics,
        limits: RequestLimits = RequestLimits(),  # noqa: B008, it is immutable
        *,
        pivot: str | None = None,
    ) -> None:
        """Take in what the service works with.

        Args:
            pivot: code of a language by way of which directions are served that no run has.

        Raises:
            UserError: two runs translate in the same direction; no direction goes by way of the pivot.
        """
        self.directions = Directions([direction for run in runs for direction in run.directions], pivot)
        self.engine, self.metrics, self.limits = engine, metrics, limits
        self.documents = DocumentStore()
        self.num_characters = 0
        """Characters of all texts so far."""
        self._most_alternatives = {run.name: run.most_alternatives for run in runs}

    def detect(self, text: str, target: str = "") -> list[Detected]:
        """Return the source languages that a text may be in, likeliest first; of those that have the target."""
        sources = self.directions.sources
        if target:
            sources = [code for code in sources if target in self.directions.targets_of(code)] or sources
        return detect(text, sources)

    async def translate(
        self,
        texts: Sequence[TextToTranslate],
        wanted: Wanted = Wanted(),  # noqa: B008, it is immutable
    ) -> list[TranslatedText]:
        """Translate texts.

        Raises:
            Refusal: too large, too much waiting, or not done in time.
        """
        parsed = [text.parsed() for text in texts]
        self._check_size(texts, parsed)
        if any(text.markup for text in texts):
            wanted = wanted._replace(with_alignment=True)
        first = await self._translated(texts, [text.lines for text in parsed], wanted)
        second_lines = [text.second_lines(translations) for text, translations in zip(parsed, first, strict=True)]
        second = await self._translated(texts, second_lines, Wanted())
        return [
            _translated_text(text, found, pieces, wanted.num_best - 1)
            for text, found, pieces in zip(parsed, first, second, strict=True)
        ]

    async def translate_document(
        self, content: bytes, name: str, format: DocumentFormat, direction: ServedDirection
    ) -> bytes:
        """Translate a document. Its lines are asked for a few at a time, so that other requests are not kept waiting.

        Args:
            name: of the file, for refusals.

        Raises:
            Refusal: it is damaged, too large, or not done in time.
        """
        options = DocumentOptions(
            direction.source, direction.target, most_bytes=_MOST_UNPACKED * len(content) + (1 << 24)
        )
        try:
            document = await asyncio.to_thread(format.read, content, name, options)
        except UserError as error:
            raise _told(error) from None
        lines = document.lines
        if len(lines) > self.limits.max_document_lines:
            most = self.limits.max_document_lines
            raise Refusal(413, f"the document has {len(lines)} sentences, and {most} are the most")
        try:
            async with asyncio.timeout(self.limits.document_seconds):
                found = await self._lines_of_document(direction, lines)
                second = await self._lines_of_document(direction, document.second_lines(found))
        except TimeoutError:
            raise _late() from None
        return await asyncio.to_thread(document.content, found, second)

    async def _lines_of_document(self, direction: ServedDirection, lines: Sequence[str]) -> list[Translation]:
        found: list[Translation] = []
        while len(found) < len(lines):
            part = lines[len(found) : len(found) + _LINES_AT_A_TIME]
            try:
                job = self._submit(direction, part, [None] * len(part), Wanted(with_alignment=True))
            except Refusal as refusal:
                if refusal.status != 429:
                    raise
                await asyncio.sleep(_WAIT_SECONDS)
                continue
            try:
                of_part = [_without_token(each, direction) for each in await _result(job)]
            finally:
                self.engine.cancel(job, "cancelled")
            if direction.onward is not None:
                second = await self._lines_of_document(direction.onward, [each.text for each in of_part])
                of_part = list(map(_together, of_part, second))
            found += of_part
        return found

    async def stream(self, text: TextToTranslate) -> AsyncIterator[str]:
        """Yield the translation of a plain text in pieces, line by line, as soon as they are known.

        Raises:
            Refusal: as :meth:`translate`; before anything is yielded, if it is too large or too much is waiting.
        """
        parsed = PlainText(text.text)
        self._check_size([text], [parsed])
        if text.direction.onward is not None:
            [translated] = await self.translate([text])
            return _only(translated.text)
        loop = asyncio.get_running_loop()
        found: asyncio.Queue[tuple[int, str]] = asyncio.Queue()

        def told(place: int, translation: Translation) -> None:
            loop.call_soon_threadsafe(found.put_nowait, (place, translation.text))

        job = self._submit(text.direction, parsed.lines, [text.terms] * len(parsed.lines), Wanted(), told)
        return self._pieces(parsed, job, found)

    async def _pieces(self, text: PlainText, job: Job, found: asyncio.Queue[tuple[int, str]]) -> AsyncIterator[str]:
        known: dict[int, str] = {}
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.limits.timeout_seconds
        ended: asyncio.Future[Any] = asyncio.ensure_future(asyncio.wrap_future(job.future))
        reason = "cancelled"
        try:
            for place in range(len(text.lines)):
                while place not in known:
                    getting: asyncio.Future[Any] = asyncio.ensure_future(found.get())
                    await asyncio.wait(
                        {getting, ended}, timeout=deadline - loop.time(), return_when=asyncio.FIRST_COMPLETED
                    )
                    if not getting.done() and (not ended.done() or ended.exception() is not None):
                        getting.cancel()
                        if ended.done():
                            raise _told(ended.exception())
                        reason = "late"
                        raise _late()
                    number, translation = await getting
                    known[number] = translation
                yield text.between[place] + known.pop(place)
            if text.between[-1]:
                yield text.between[-1]
        finally:
            ended.cancel()
            self.engine.cancel(job, reason)

    def _check_size(self, texts: Sequence[TextToTranslate], parsed: Sequence[Text]) -> None:
        num_characters = sum(len(text.text) for text in texts)
        num_lines = sum(len(text.lines) for text in parsed)
        for found, most, what in (
            (num_characters, self.limits.max_characters, "characters"),
            (num_lines, self.limits.max_lines, "lines"),
        ):
            if found > most:
                raise Refusal(413, f"the request has {found} {what}, and {most} are the most")

    async def _translated(
        self, texts: Sequence[TextToTranslate], lines: Sequence[Sequence[str]], wanted: Wanted
    ) -> list[list[Translation]]:
        """Return the translations of the lines of each text."""
        by_direction: dict[ServedDirection, list[int]] = {}
        for place, text in enumerate(texts):
            by_direction.setdefault(text.direction, []).append(place)
        jobs: list[Job] = []
        results: list[list[Translation]] = [[] for _ in texts]
        reason = "cancelled"

        def begin(direction: ServedDirection, together: list[str], terms: list[Terminology | None]) -> None:
            last = direction.onward is None
            most = min(wanted.num_best, 1 + self._most_alternatives[direction.run]) if last else 1
            jobs.append(self._submit(direction, together, terms, wanted._replace(num_best=most)))

        try:
            for direction, places in by_direction.items():
                together = [line for place in places for line in lines[place]]
                begin(direction, together, [texts[place].terms for place in places for _ in lines[place]])
            async with asyncio.timeout(self.limits.timeout_seconds):
                for number, (direction, places) in enumerate(by_direction.items()):
                    found = [_without_token(each, direction) for each in await _result(jobs[number])]
                    if direction.onward is not None:
                        begin(direction.onward, [each.text for each in found], [None] * len(found))
                        second = [_without_token(each, direction.onward) for each in await _result(jobs[-1])]
                        found = list(map(_together, found, second))
                    of_lines = iter(found)
                    for place in places:
                        results[place] = [next(of_lines) for _ in lines[place]]
        except TimeoutError:
            reason = "late"
            raise _late() from None
        finally:
            for job in jobs:
                self.engine.cancel(job, reason)
        return results

    def _submit(
        self,
        direction: ServedDirection,
        lines: Sequence[str],
        terms: Sequence[Terminology | None],
        wanted: Wanted,
        told: Callable[[int, Translation], None] | None = None,
    ) -> Job:
        requests = [
            Request(f"{direction.token} {line}" if direction.token else line, number=number, terms=terms_of_line)
            for number, (line, terms_of_line) in enumerate(zip(lines, terms, strict=True))
        ]
        try:
            job = self.engine.submit(direction.run, requests, wanted, told)
        except QueueFullError as error:
            raise Refusal(429, str(error), retry_after_seconds=error.retry_after_seconds) from None
        except EngineClosedError:
            raise Refusal(503, "the server is being stopped", retry_after_seconds=5) from None
        num_characters = sum(map(len, lines))
        self.num_characters += num_characters
        self.metrics.lines_asked(str(direction), len(lines), num_characters)
        return job


async def _only(text: str) -> AsyncIterator[str]:
    yield text


def _together(first: Translation, second: Translation) -> Translation:
    """Return the translation of a translation, with what is known of both."""
    links = [(i, k) for i, j in first.alignment for other, k in second.alignment if other == j]
    confidence = None
    if first.confidence is not None and second.confidence is not None:
        confidence = first.confidence * second.confidence
    return second._replace(
        alignment=tuple(dict.fromkeys(links)),
        confidence=confidence,
        corrections=first.corrections,
        suspicions=tuple(dict.fromkeys((*first.suspicions, *second.suspicions))),
        warnings=tuple(dict.fromkeys((*first.warnings, *second.warnings))),
    )


async def _result(job: Job) -> list[Translation]:
    try:
        return await asyncio.wrap_future(job.future)
    except UserError as error:
        raise _told(error) from None


def _told(error: BaseException | None) -> BaseException:
    """Return the error as the client is told of it."""
    return Refusal(400, error.problem) if isinstance(error, UserError) else error or RuntimeError("no translation")


def _late() -> Refusal:
    return Refusal(504, "not translated in time: too much was asked for", retry_after_seconds=10)


def _without_token(translation: Translation, direction: ServedDirection) -> Translation:
    """Return the translation with an alignment that does not count the language token."""
    if not direction.token:
        return translation
    links = tuple((source - 1, target) for source, target in translation.alignment if source)
    others = tuple(_without_token(other, direction) for other in translation.alternatives)
    return translation._replace(alignment=links, alternatives=others)


def _translated_text(
    text: Text, found: Sequence[Translation], pieces: Sequence[Translation], num_alternatives: int
) -> TranslatedText:
    """Put the translations of lines together. An alternative has the alternative of each line that has one; there is
    none where tags have no place in it."""
    best = text.joined(found, pieces)
    alternatives = []
    for rank in range(num_alternatives):
        if not any(len(translation.alternatives) > rank for translation in found):
            break
        lines = [
            translation.alternatives[rank] if len(translation.alternatives) > rank else translation
            for translation in found
        ]
        if text.second_lines(lines) == text.second_lines(found):
            alternatives.append(text.joined(lines, pieces))
    together = tuple(map(TranslatedLine, text.lines, found))
    return TranslatedText(best, tuple(alternatives), together)
