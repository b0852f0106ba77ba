"""Benchmark of translation speed behind ``mtmoe bench translate``: sentences per second by decoding setting, and BLEU.

The work is that of ``mtmoe translate`` for texts without scores.

A case is a set of decoding settings. All cases are measured several times in turn, each time in a new process. So the
peak memory of a case is its own, no case finds memory that another one has warmed, and a slow spell of the machine
meets all alike. Figures are medians over the rounds. So is the ratio to the first case, which is taken within each
round.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.pool import Pool
from typing import NamedTuple, TypeVar

import torch

from mtmoe.benchmark.machine import peak_bytes
from mtmoe.errors import UserError
from mtmoe.evaluation.bleu_tokenisers import check_tokeniser
from mtmoe.evaluation.quality import measure_quality
from mtmoe.inference.requests import Request
from mtmoe.inference.translation import Translation
from mtmoe.inference.translator import Translator
from mtmoe.inference.worker_pool import CHUNK_LINES, WorkerPool
from mtmoe.languages import Tokeniser
from mtmoe.progress import Progress, silent
from mtmoe.system.process_settings import prepare_for_translation, use_threads

T = TypeVar("T")

_WARMUP_SENTENCES = 64


class SpeedTest(NamedTuple):
    """Circumstances that all cases share.

    overrides: decoding settings of all cases. num_single: sentences that are translated one by one, for the latency.
    num_workers: processes that translate side by side; ``device`` has the names of their devices (``cuda:0,cuda:1``).
    """

    run: str
    checkpoint: str
    device: str
    num_threads: int
    overrides: tuple[str, ...]
    sources: tuple[str, ...]
    num_single: int
    num_workers: int = 1

    @property
    def devices(self) -> tuple[str, ...]:
        """Return the devices of the workers, which take them in turn."""
        return tuple(self.device.split(","))

    @property
    def nonempty_sources(self) -> list[str]:
        """Return the sources that have text."""
        return [source for source in self.sources if source.strip()]


class TranslationSpeed(NamedTuple):
    """Measured speed of one case: medians over the rounds, without loading and warming up.

    settings: of this case alone. target_tokens_per_second: subwords of the translations, ends of sentences counted.
    over_first: sentences/s as a multiple of the first case's. cpu_seconds: of all threads for all sentences; other work
    on
    the machine changes it less than the time on the clock. latency: of a sentence that is translated alone, from text
    to
    text. peak_bytes: of the whole process, loading included (GPU: of all tensors). cpu_seconds and peak_bytes are None
    with
    several workers. bleu: None without a reference.
    """

    settings: tuple[str, ...]
    sentences_per_second: float
    target_tokens_per_second: float
    over_first: float
    cpu_seconds: float | None
    latency_p50_ms: float
    latency_p95_ms: float
    peak_bytes: int | None
    bleu: float | None
    bleu_signature: str | None
    warnings: tuple[str, ...]


class Measurement(NamedTuple):
    """Measurements of one case in one round."""

    seconds: float
    cpu_seconds: float | None
    num_target_tokens: int
    latencies_ms: tuple[float, ...]
    peak_bytes: int | None
    texts: tuple[str, ...]


def cases_of(varied: Sequence[tuple[str, Sequence[str]]]) -> list[tuple[str, ...]]:
    """Return every combination of the values of each key, as settings ``key=value``; the last key changes fastest."""
    return list(itertools.product(*([f"{key}={value}" for value in values] for key, values in varied)))


def run_translation_benchmark(
    test: SpeedTest,
    cases: Sequence[tuple[str, ...]],
    reference: Sequence[str] | None,
    *,
    tokeniser: Tokeniser = "13a",
    num_rounds: int = 3,
    progress: Progress = silent,
) -> list[TranslationSpeed]:
    """Translate all sources with the settings of each case, ``num_rounds`` times in turn.

    Args:
        reference: a translation of each source, or None.
        tokeniser: sacreBLEU's tokeniser for BLEU.

    Raises:
        UserError: no source has text; what :class:`Translator` raises; the reference has other lines; the tokeniser is
            not installed.
    """
    if reference is not None:
        check_tokeniser(tokeniser)  # before hours of translating
    if not test.nonempty_sources:
        raise UserError("there is no line with text to translate", fix="give another --source")
    measurements: list[list[Measurement]] = [[] for _ in cases]
    with contextlib.ExitStack() as until_the_end:
        measure = measure_case_of_workers  # which are processes of their own; those of a pool may have none
        if test.num_workers == 1:
            pool = until_the_end.enter_context(multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1))
            measure = partial(_measure_in_new_process, pool)
        for done in range(num_rounds * len(cases)):
            progress("measure", done, num_rounds * len(cases), "translations")
            place = done % len(cases)
            measurements[place].append(measure(test, cases[place]))
    progress("measure", num_rounds * len(cases), num_rounds * len(cases), "translations")
    return [
        _summary(settings, own, measurements[0], len(test.nonempty_sources), reference, tokeniser)
        for settings, own in zip(cases, measurements, strict=True)
    ]


def measure_case(test: SpeedTest, settings: tuple[str, ...]) -> Measurement:
    """Load, warm up, translate everything at once, then some sentences one by one; return the measurements."""
    prepare_for_translation()
    use_threads(test.num_threads)
    overrides = (*test.overrides, *settings)
    translator = Translator(test.run, device=test.device, checkpoint=test.checkpoint, overrides=overrides)
    translator.translate(_evenly_spread(test.nonempty_sources, _WARMUP_SENTENCES))
    began_cpu = time.process_time()
    translations, seconds = _timed(lambda: translator.translate(test.sources, with_scores=False))
    cpu_seconds = time.process_time() - began_cpu
    latencies_ms = _latencies_ms(test, lambda source: translator.translate([source], with_scores=False))
    return _measurement(translations, seconds, cpu_seconds, latencies_ms, peak_bytes(torch.device(test.device)))


def _measure_in_new_process(pool: Pool, test: SpeedTest, settings: tuple[str, ...]) -> Measurement:
    """Run :func:`measure_case` in a new process of the pool."""
    return pool.apply(measure_case, (test, settings))


def measure_case_of_workers(test: SpeedTest, settings: tuple[str, ...]) -> Measurement:
    """Measure one case with several processes.

    Each process takes two chunks of lines. (``mtmoe translate --workers`` makes chunks that take some seconds.)
    """
    overrides = (*test.overrides, *settings)
    with WorkerPool(
        test.run, test.num_workers, devices=test.devices, checkpoint=test.checkpoint, overrides=overrides
    ) as pool:

        def translated(sources: Sequence[str], chunk_lines: int) -> list[Translation]:
            """Return the translations of all sources, divided among the workers in chunks."""
            requests = [Request(source, number=number) for number, source in enumerate(sources)]
            chunks = (requests[begin : begin + chunk_lines] for begin in range(0, len(requests), chunk_lines))
            answers = pool.translate_chunks(chunks, with_scores=False)
            return [translation for answer in answers for translation in answer]

        warming = _evenly_spread(test.nonempty_sources, _WARMUP_SENTENCES)
        translated(warming * test.num_workers, len(warming))  # each worker has one chunk, and loads
        chunk_lines = max(CHUNK_LINES, -(-len(test.sources) // (2 * test.num_workers)))
        translations, seconds = _timed(lambda: translated(test.sources, chunk_lines))
        latencies_ms = _latencies_ms(test, lambda source: translated([source], 1))
    return _measurement(translations, seconds, None, latencies_ms, None)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return the result of ``work``, and the seconds it took."""
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began


def _latencies_ms(test: SpeedTest, translate: Callable[[str], object]) -> tuple[float, ...]:
    """Return the milliseconds of some sentences, one by one. The first is translated once before, to warm up."""
    single = _evenly_spread(test.nonempty_sources, test.num_single)
    translate(single[0])
    return tuple(_timed(partial(translate, source))[1] * 1e3 for source in single)


def _measurement(
    translations: Sequence[Translation],
    seconds: float,
    cpu_seconds: float | None,
    latencies_ms: tuple[float, ...],
    peak: int | None,
) -> Measurement:
    """Return the measurements of one case from its translations and times."""
    num_target_tokens = sum(translation.num_tokens for translation in translations)
    texts = tuple(translation.text for translation in translations)
    return Measurement(seconds, cpu_seconds, num_target_tokens, latencies_ms, peak, texts)


def _evenly_spread(lines: Sequence[T], number: int) -> list[T]:
    """Return at most ``number`` of the lines, evenly spread from the first to the last part."""
    number = min(number, len(lines))
    return [lines[place * len(lines) // number] for place in range(number)]


def _summary(
    settings: tuple[str, ...],
    measurements: Sequence[Measurement],
    first: Sequence[Measurement],
    num_sentences: int,
    reference: Sequence[str] | None,
    tokeniser: Tokeniser,
) -> TranslationSpeed:
    """Return the medians of a case's rounds, and the BLEU of its first round."""
    quality = None
    if reference is not None:
        name = " ".join(settings) or "the translation"
        quality = measure_quality(measurements[0].texts, [reference], name=name, tokeniser=tokeniser)
    return TranslationSpeed(
        settings=settings,
        sentences_per_second=statistics.median(num_sentences / own.seconds for own in measurements),
        target_tokens_per_second=statistics.median(own.num_target_tokens / own.seconds for own in measurements),
        over_first=statistics.median(
            other.seconds / own.seconds for own, other in zip(measurements, first, strict=True)
        ),
        cpu_seconds=_if_known(statistics.median, [own.cpu_seconds for own in measurements]),
        latency_p50_ms=statistics.median(_percentile(own.latencies_ms, 50) for own in measurements),
        latency_p95_ms=statistics.median(_percentile(own.latencies_ms, 95) for own in measurements),
        peak_bytes=_if_known(max, [own.peak_bytes for own in measurements]),
        bleu=quality.bleu if quality else None,
        bleu_signature=quality.bleu_signature if quality else None,
        warnings=quality.warnings if quality else (),
    )


def _if_known(summary: Callable[[list[T]], T], values: Sequence[T | None]) -> T | None:
    """Return the summary of the values that are known, or None if none is."""
    known = [value for value in values if value is not None]
    return summary(known) if known else None


def _percentile(values: Sequence[float], percent: int) -> float:
    """Return the least value that so many percent of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-percent * len(ordered) // 100) - 1)]
