"""Workers that measure: chunks of pairs in several processes, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from mtmoe.corpus_survey.text_fields import LanguagePair
from mtmoe.filtering.criteria import Criteria
from mtmoe.filtering.measuring import MeasuredPair, Measurer
from mtmoe.filtering.pair_rules import CheckedPair
from mtmoe.system.process_pool import Chunk, ProcessPool
from mtmoe.system.process_settings import prepare_for_translation, use_threads

Pairs = Sequence[CheckedPair]


@dataclass(frozen=True)
class MeasuringWorker:
    """What each process does: load what measures, and measure chunks with it."""

    criteria: Criteria
    languages: LanguagePair
    devices: Sequence[str | None]

    def __call__(self, place: int, num_threads: int) -> Callable[[Pairs], list[MeasuredPair]]:
        """Load runs and lexicon in the process that is number ``place``."""
        prepare_for_translation()
        use_threads(num_threads)
        return Measurer(self.criteria, self.languages, self.devices[place % len(self.devices)]).measure


def measured_chunks(
    chunks: Iterable[Pairs],
    criteria: Criteria,
    languages: LanguagePair,
    devices: Sequence[str | None] = (None,),
    num_workers: int = 1,
    *,
    num_before: int = 0,
    warn: Callable[[str], None] = lambda text: None,
) -> Iterator[list[MeasuredPair]]:
    """Yield what is found of each chunk, in order; a bounded number of chunks is in memory.

    Args:
        devices: worker n is on ``devices[n % len(devices)]``. On a CPU the workers share the cores.
        num_workers: processes that measure; 1 measures in this process.
        num_before: pairs before the first chunk, for messages.
        warn: told when a worker died and its pairs are measured again.

    Raises:
        UserError: as :class:`~mtmoe.filtering.measuring.Measurer`; a worker died twice over the same chunk.
    """
    if num_workers == 1:
        measurer = Measurer(criteria, languages, devices[0])
        yield from map(measurer.measure, chunks)
        return
    worker = MeasuringWorker(criteria, languages, devices)
    with ProcessPool(worker, num_workers, fix="go on with --resume and fewer --workers", warn=warn) as pool:
        for answer in pool.answers(_numbered(chunks, num_before)):
            yield answer or []


def _numbered(chunks: Iterable[Pairs], num_before: int) -> Iterator[Chunk[Pairs]]:
    for pairs in chunks:
        yield Chunk(pairs, f"pairs {num_before + 1} to {num_before + len(pairs)}")
        num_before += len(pairs)
