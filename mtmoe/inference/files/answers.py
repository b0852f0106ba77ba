"""Answers to chunks of lines: what is read as the format says, translated, and written as the format says."""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mtmoe.inference.files.journal import LineFaults
from mtmoe.inference.files.line_chunks import ChunkSize, RawLine, decode_leniently
from mtmoe.inference.files.line_formats import ParsedLine
from mtmoe.inference.files.translation_options import TranslatedLines, TranslationListener, TranslationOptions

if TYPE_CHECKING:
    from mtmoe.inference.requests import Request
    from mtmoe.inference.translation import Translation

TranslateChunks = Callable[[Iterable[Sequence["Request"]]], Iterator[list["Translation"]]]
"""From chunks of lines to chunks of translations, in order."""


class Answers:
    """Reads lines as the format says, and puts the answers together."""

    def __init__(self, options: TranslationOptions, listener: TranslationListener) -> None:
        self._format = options.format
        self._listener = listener
        self.num_done = 0
        self.chunk_size = _chunk_size(options.num_workers)
        self.tell_pauses = options.num_workers > 1
        self.faults = LineFaults()

    def result(self) -> TranslatedLines:
        """Return what was done until now."""
        return TranslatedLines(self.num_done, self.faults)

    def translated(
        self, chunks: Iterable[Sequence[RawLine]], translate_chunks: TranslateChunks
    ) -> Iterator[tuple[str, int, LineFaults]]:
        """Yield the answers to each chunk as one text, how many lines they answer, and what is wrong with these."""
        waiting: deque[list[ParsedLine]] = deque()

        def requests() -> Iterator[list[Request]]:
            for chunk in chunks:
                waiting.append([self._parsed(line) for line in chunk])
                yield [line.request for line in waiting[-1]]

        for translations in translate_chunks(requests()):
            lines = waiting.popleft()
            answers = []
            for line, translation in zip(lines, translations, strict=True):
                for warning in translation.warnings:
                    self._listener.warning(f"line {line.request.number + 1}: {warning}")
                answers.append(self._format.write(line, translation))
            self.num_done += len(lines)
            self.chunk_size.answered(len(lines))
            problems = [f"line {line.request.number + 1}: {line.problem}" for line in lines if line.problem]
            suspicious = Counter(kind for translation in translations for kind in translation.suspicions)
            faults = LineFaults(len(problems), problems[0] if problems else "", tuple(sorted(suspicious.items())))
            self.faults = self.faults.plus(faults)
            if lines:
                yield "".join(answers), len(lines), faults

    def _parsed(self, line: RawLine) -> ParsedLine:
        from mtmoe.data.raw.lines import LONGEST_LINE_BYTES, is_too_long

        number = line.number
        if is_too_long(line.content.removesuffix(b"\r")):
            problem = f"longer than {LONGEST_LINE_BYTES:,} bytes"
            return self._format.read("", number)._replace(problem=problem)
        text = decode_leniently(line.content, number + 1, self._listener.warning, is_first=line.is_first)
        return self._format.read(text, number)


def _chunk_size(num_workers: int) -> ChunkSize:
    if num_workers == 1:
        return ChunkSize()
    from mtmoe.inference.worker_pool import CHUNK_LINES

    return ChunkSize(num_workers, fewest=CHUNK_LINES)


@contextlib.contextmanager
def chunk_translator(options: TranslationOptions, listener: TranslationListener) -> Iterator[TranslateChunks]:
    """Load the model here, or in the workers, and yield what translates chunks."""
    arguments: dict[str, Any] = {
        "checkpoint": options.checkpoint, "overrides": options.overrides, "rescoring": options.rescoring,
        "ensemble": options.ensemble, "terms": options.terms,
    }  # fmt: skip
    wanted: dict[str, Any] = {
        "with_alignment": options.format.options.with_alignment, "with_scores": options.format.with_scores,
    }  # fmt: skip
    if options.num_workers > 1:
        from mtmoe.inference.worker_pool import WorkerPool

        pool_options = {"devices": options.devices, "warn": listener.warning, **arguments}
        with WorkerPool(options.run, options.num_workers, **pool_options) as pool:
            yield lambda chunks: pool.translate_chunks(chunks, options.num_best, **wanted)
        return
    from mtmoe.inference.translator import Translator

    translator = Translator(options.run, device=options.devices[0], **arguments)
    yield partial(map, partial(translator.translate, num_best=options.num_best, **wanted))
